"""Exact parameter counts; the expected ones were printed by the reference implementation."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, GPT2Config, GPTNeoXConfig, LlamaConfig, T5Config
from transformers.models.auto import CONFIG_MAPPING

from lora_engine import catalog
from lora_engine.config import LoraConfig
from lora_engine.counts import count_parameters
from lora_engine.errors import ModelError, SettingsError
from lora_engine.inspection import build_profile, profile_model
from lora_engine.lora.inject import inject
from lora_engine.profile import ModelProfile
from tests import tiny

EVERY_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelProfile]:
    """Profiles of published shapes, made from their configs alone."""
    folder = tmp_path_factory.mktemp("shapes")
    LlamaConfig(  # LLaMA-7B (Touvron et al. 2023, table 2)
        vocab_size=32_000, hidden_size=4096, intermediate_size=11_008, num_hidden_layers=32,
        num_attention_heads=32, architectures=["LlamaForCausalLM"],
    ).save_pretrained(folder / "llama-7b")  # fmt: skip
    GPT2Config(architectures=["GPT2LMHeadModel"]).save_pretrained(folder / "gpt2")
    GPTNeoXConfig(  # ChatGLM-6B's fused projections: 28 times 4096 → 12288
        vocab_size=130_528, hidden_size=4096, intermediate_size=16_384, num_hidden_layers=28,
        num_attention_heads=32, architectures=["GPTNeoXForCausalLM"],
    ).save_pretrained(folder / "chatglm-6b")  # fmt: skip
    BertConfig(architectures=["BertForMaskedLM"]).save_pretrained(folder / "bert")
    T5Config(architectures=["T5ForConditionalGeneration"]).save_pretrained(folder / "t5")
    names = ("llama-7b", "chatglm-6b", "gpt2", "bert", "t5")
    found = {name: build_profile(folder / name, name) for name in names}
    found["minilm"] = catalog.profile("all-minilm-l6-v2", folder)
    found["smollm2"] = catalog.profile("smollm2-135m-instruct", folder)
    return found


@pytest.mark.parametrize(
    ("model", "settings", "trainable", "total"),
    [
        ("smollm2", {"target_modules": ["q_proj", "v_proj"]}, 460_800, 134_975_808),
        ("smollm2", {"target_modules": EVERY_LINEAR}, 2_442_240, 136_957_248),
        ("smollm2", {}, 460_800, 134_975_808),
        ("llama-7b", {"target_modules": ["q_proj", "v_proj"]}, 4_194_304, 6_742_609_920),
        ("gpt2", {"target_modules": ["c_attn"]}, 294_912, 124_734_720),
        ("gpt2", {}, 294_912, 124_734_720),
        ("smollm2", {"use_dora": True}, 483_840, 134_998_848),
        ("t5", {}, 294_912, 60_801_536),
    ],
)
def test_published_counts(
    profiles: dict[str, ModelProfile],
    model: str,
    settings: dict[str, Any],
    trainable: int,
    total: int,
) -> None:
    count = count_parameters(profiles[model], LoraConfig.parse({"r": 8, **settings}))
    assert (count.trainable, count.total) == (trainable, total)
    assert count.percent == pytest.approx(100 * trainable / total)
    assert count.adapter_mb == pytest.approx(trainable * 4 / 1e6)
    assert sum(module.trainable for module in count.by_module) == trainable


@pytest.mark.parametrize(
    ("model", "settings", "trainable", "total"),
    [
        ("minilm", {}, 74_498, 22_788_484),
        ("bert", {}, 296_450, 109_780_228),
        ("bert", {"target_modules": ["query", "value"]}, 296_450, 109_780_228),
        ("bert", {"r": 16, "bias": "all"}, 694_274, 110_075_140),
        ("bert", {"r": 16, "bias": "lora_only"}, 609_794, 110_075_140),
    ],
)
def test_published_counts_of_classifiers(
    profiles: dict[str, ModelProfile],
    model: str,
    settings: dict[str, Any],
    trainable: int,
    total: int,
) -> None:
    assert profiles[model].task == "classification"
    count = count_parameters(profiles[model], LoraConfig.parse({"r": 8, **settings}))
    assert (count.trainable, count.total) == (trainable, total)


def test_fused_projections_of_chatglms_shape(profiles: dict[str, ModelProfile]) -> None:
    count = count_parameters(profiles["chatglm-6b"], LoraConfig(r=8))
    assert [module.name for module in count.by_module if module.trainable] == ["query_key_value"]
    assert count.trainable == 3_670_016


@pytest.mark.parametrize("labels", [2, 3, 77])
@pytest.mark.parametrize("family", ["bert", "roberta", "llama"])
def test_a_head_has_as_many_outputs_as_there_are_labels(
    tmp_path: Path, family: str, labels: int
) -> None:
    """Plain arithmetic on the profile of two labels gives the profile of the real model."""
    small = {"vocab_size": 320, "hidden_size": 64, "num_hidden_layers": 2}
    small |= {"num_attention_heads": 4, "intermediate_size": 96}
    CONFIG_MAPPING[family](**small).save_pretrained(tmp_path)
    two = build_profile(tmp_path, "x", "classification")
    lora = LoraConfig(bias="all")
    assert count_parameters(two, lora).total > 0  # the totals of two labels are not kept
    real = build_profile(tmp_path, "x", "classification", labels)
    assert two.with_labels(labels) == real
    assert count_parameters(two.with_labels(labels), lora) == count_parameters(real, lora)


def test_a_starter_has_a_profile_for_each_task_it_can_learn(tmp_path: Path) -> None:
    chat = catalog.profile("smollm2-135m-instruct", tmp_path, task="text")
    assert chat == catalog.profile("smollm2-135m-instruct", tmp_path)
    scorer = catalog.profile("smollm2-135m-instruct", tmp_path, task="classification", num_labels=5)
    assert scorer.always_saved == ("score",)
    assert count_parameters(scorer, LoraConfig()).trainable == 460_800 + 5 * 576
    with pytest.raises(ModelError, match="MiniLM L6 v2 cannot be used for chat"):
        catalog.profile("all-minilm-l6-v2", tmp_path, task="chat")
    assert not list(tmp_path.iterdir())


TINY = {"llama": tiny.llama, "gpt2": tiny.gpt2}
TINY_PROFILES = {name: profile_model(make(), name) for name, make in TINY.items()}


@given(data=st.data())
def test_every_setting_counts_what_injection_makes_trainable(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(TINY)))
    profile = TINY_PROFILES[name]
    names = sorted({group.name for group in profile.groups})
    targets = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    r, bias = (
        data.draw(st.integers(1, 12)),
        data.draw(st.sampled_from(["none", "all", "lora_only"])),
    )
    lora = LoraConfig.parse({"r": r, "bias": bias, "target_modules": targets})
    model = TINY[name]()
    inject(model, lora, profile)
    count = count_parameters(profile, lora)
    assert count.trainable == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert count.total == sum(p.numel() for p in model.parameters())


def test_every_linear_leaves_the_head_alone_and_unknown_modules_are_named() -> None:
    profile = TINY_PROFILES["llama"]
    assert profile.linear_names == tuple(EVERY_LINEAR)
    assert [group.name for group in profile.groups] == [*EVERY_LINEAR, "lm_head", "embed_tokens"]
    with pytest.raises(SettingsError, match="no module named 'head'") as refusal:
        count_parameters(profile, LoraConfig(target_modules=("head",)))
    assert refusal.value.field == "lora.target_modules"
    with pytest.raises(SettingsError, match="at least one"):
        count_parameters(profile, LoraConfig(target_modules=()))


@pytest.mark.parametrize(
    "config", ["{}", '{"model_type": "nothing-known"}', '{"model_type": "vit"}']
)
def test_config_of_no_language_model_is_a_sentence(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ModelError, match=r"config\.json") as refusal:
        build_profile(tmp_path, "x")
    assert "\n" not in str(refusal.value)
