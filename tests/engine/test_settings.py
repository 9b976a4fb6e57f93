"""Settings that cannot be used are refused in one sentence, at the right field."""

from typing import Any

import pytest

from lora_engine.config import LoraConfig, TrainConfig
from lora_engine.counts import count_parameters
from lora_engine.errors import SettingsError
from lora_engine.inspection import profile_model
from tests import tiny

WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"epochs": 0}, "epochs", "epochs must be greater than 0, but is 0."),
    ({"batch_size": "x"}, "batch_size", "batch_size must be a whole number, but is 'x'."),
    ({"learning_rate": "x"}, "learning_rate", "learning_rate must be a number, but is 'x'."),
    ({"fast": "maybe"}, "fast", "fast must be true or false, but is 'maybe'."),
    ({"dataset": 3}, "dataset", "dataset must be text, but is 3."),
    ({"schedule": "up"}, "schedule",
     "schedule must be 'linear', 'cosine' or 'constant', but is 'up'."),
    ({"lora": "x"}, "lora", "lora must be an object of names and values, but is 'x'."),
    ({"roles": "x"}, "roles", "roles must be an object of names and values, but is 'x'."),
    ({"more": 1}, "more", "There is no setting named 'more'."),
    ({"lora": {"more": 1}}, "lora.more", "There is no setting named 'lora.more'."),
    ({"lora": {"r": 0}}, "lora.r", "r must be at least 1, but is 0."),
    ({"lora": {"target_modules": [1]}}, "lora.target_modules",
     "Each of target_modules must be text, but is 1."),
    ({"lora": {"target_modules": {"a": 1}}}, "lora.target_modules",
     "target_modules must be a list, but is this."),
    ({"lora": {"modules_to_save": "lm_head"}}, "lora.modules_to_save",
     "modules_to_save must be a list, but is 'lm_head'."),
    ({"lora": {"layers_to_transform": [0, -1]}}, "lora.layers_to_transform",
     "Each of layers_to_transform must be at least 0, but is -1."),
    ({"lora": {"init_lora_weights": "pissa", "r": 513}}, "lora",
     "PiSSA is saved as pairs of twice the rank: r can be at most 512 and lora_alpha 2048."),
    ({"lora": {"init_lora_weights": "pissa", "alpha_pattern": {"v_proj": 3000}}}, "lora",
     "PiSSA is saved as pairs of twice the rank: r can be at most 512 and lora_alpha 2048."),
    ({"lora": {"method": "full", "loraplus_lr_ratio": 16}}, "lora",
     "LoRA+ is about A and B: use it with method lora."),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "field", "sentence"), WRONG, ids=lambda x: str(x)[:40])
def test_a_wrong_value_is_one_sentence_at_its_field(
    changes: dict[str, Any], field: str, sentence: str
) -> None:
    with pytest.raises(SettingsError) as refusal:
        TrainConfig.parse({"base_model": "m", "dataset": "d", **changes})
    assert (refusal.value.field, str(refusal.value)) == (field, sentence)


@pytest.mark.parametrize("field", ["rank_pattern", "alpha_pattern"])
def test_a_pattern_that_is_for_nothing_is_told(field: str) -> None:
    profile = profile_model(tiny.llama(), "x")
    for pattern in ("v_proj", r"layers\.1\..*"):
        count_parameters(profile, LoraConfig.parse({field: {pattern: 2}}))
    with pytest.raises(SettingsError, match="names 'q_prj', but no adapted module") as refusal:
        count_parameters(profile, LoraConfig.parse({field: {"v_proj": 2, "q_prj": 4}}))
    assert refusal.value.field == f"lora.{field}"


@pytest.mark.parametrize("name", ["self_attn", "layers", "model"])
def test_attention_is_not_saved_whole(name: str) -> None:
    profile = profile_model(tiny.llama(), "x")
    with pytest.raises(SettingsError, match="holds the model's attention") as refusal:
        count_parameters(profile, LoraConfig.parse({"modules_to_save": [name]}))
    assert refusal.value.field == "lora.modules_to_save"
