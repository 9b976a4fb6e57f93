"""Fields, presets, and the way between the Train tab's values and a TrainConfig."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import train_form
from app.fields import FIELDS, PATTERN, TARGETS, applies
from app.presets import DEFAULT_PRESET, PRESETS, known_modules, matching_preset, preset_values
from app.presets_view import presets_html
from app.train_form import (
    default_values,
    estimate,
    estimate_sentence,
    form_values,
    make_config,
    pieces,
    read_config,
)
from app.wording import fields as field_words
from app.wording import train as words
from lora_engine import registry
from lora_engine.config import LoraConfig, TrainConfig
from lora_engine.counts import count_parameters
from lora_engine.data import Dataset
from lora_engine.errors import SettingsError
from lora_engine.starters import shipped_profile

PROFILE = shipped_profile("smollm2-135m-instruct")


def config(**changes: Any) -> TrainConfig:
    return TrainConfig.parse({"base_model": "m", "dataset": "d", **changes})


def test_every_setting_of_a_run_is_on_the_form() -> None:
    names = {f"lora.{name}" for name in LoraConfig.model_fields} | set(TrainConfig.model_fields)
    not_a_field = {"lora", "base_model", "dataset", "roles", "task"}
    assert ({field.name for field in FIELDS} - {PATTERN}) | {TARGETS} == names - not_a_field


def test_every_field_has_a_label_and_a_sentence() -> None:
    assert set(field_words.FIELDS) == {field.name for field in FIELDS} | {TARGETS}
    for label, help_sentence in field_words.FIELDS.values():
        assert label
        assert help_sentence.endswith(".")


def test_the_defaults_are_the_configs_own() -> None:
    assert make_config(default_values(), "m", "d") == config()


@given(
    r=st.integers(1, 1024),
    dropout=st.floats(0, 0.99),
    targets=st.none() | st.lists(st.sampled_from(known_modules(PROFILE)), min_size=1, unique=True),
    max_steps=st.none() | st.integers(1, 999),
)
def test_a_config_survives_the_form(
    r: int, dropout: float, targets: list[str] | None, max_steps: int | None
) -> None:
    lora = {"r": r, "lora_dropout": dropout, "target_modules": targets}
    before = config(lora=lora, max_steps=max_steps)
    assert make_config(form_values(before), "m", "d") == before


LAYERS = st.none() | st.lists(st.integers(0, 40), min_size=1, unique=True).map(sorted)
PATTERNS = st.dictionaries(
    st.sampled_from(["v_proj", r"layers\.0\..*_proj", "mlp.(up|down)_proj"]), st.integers(1, 64)
)


@given(
    method=st.sampled_from(
        [
            {"method": "freeze", "freeze_trainable_layers": 3},
            {"method": "full"},
            {"method": "galore", "r": 4, "galore_update_gap": 7, "galore_scale": 0.5},
            {"target_modules": r".*\.(q|v)_proj", "use_rslora": True},
            {"target_modules": "all-linear", "use_dora": True, "loraplus_lr_ratio": 16},
            {"init_lora_weights": "pissa_niter_4", "modules_to_save": ["lm_head", "norm"]},
        ]
    ),
    layers=LAYERS,
    ranks=PATTERNS,
    noise=st.none() | st.floats(0.5, 20),
    checkpointing=st.booleans(),
    optim=st.sampled_from(registry.OPTIMIZERS),
)
def test_every_method_survives_the_form(
    method: dict[str, Any],
    layers: list[int] | None,
    ranks: dict[str, int],
    noise: float | None,
    checkpointing: bool,
    optim: str,
) -> None:
    lora = dict(method)
    if "method" not in lora:
        lora |= {"layers_to_transform": layers, "rank_pattern": ranks, "alpha_pattern": ranks}
    before = config(
        lora=lora, neftune_noise_alpha=noise, gradient_checkpointing=checkpointing,
        test_dataset="t", label_smoothing=0.1,
        optim="adamw" if lora.get("method") == "galore" else optim,
    )  # fmt: skip
    assert make_config(form_values(before), "m", "d") == before


def test_a_comma_within_a_count_divides_no_patterns() -> None:
    ranks = {r"layers\.\d{1,2}\.q_proj": 4, "v_proj": 2, "k{3}": 1}
    before = config(lora={"rank_pattern": ranks, "alpha_pattern": {"q{1,2}": 1234.5678}})
    assert make_config(form_values(before), "m", "d") == before


def test_what_stands_in_a_hidden_field_decides_nothing() -> None:
    values = default_values() | {
        "lora.method": "full",
        "lora.use_dora": True,
        "lora.layers_to_transform": "nonsense",
        "quantization": "nf4",
        PATTERN: "[",
        "class_weights": True,
    }
    assert make_config(values, "m", "d", "chat") == config(lora={"method": "full"})
    assert make_config(values, "m", "d", "classification").class_weights
    values = default_values() | {"metric_for_best_model": "f1", "lora.method": "full"}
    keeps = values | {"load_best_model_at_end": True}
    assert make_config(values, "m", "d", "classification").metric_for_best_model == "loss"
    assert make_config(keeps, "m", "d", "chat").metric_for_best_model == "loss"
    kept = make_config(keeps, "m", "d", "classification")
    assert kept.metric_for_best_model == "f1"
    assert form_values(kept)["metric_for_best_model"] == "f1"
    assert not applies("lora.lora_alpha", values)
    assert not applies(TARGETS, values)
    assert applies("lora.freeze_trainable_layers", values | {"lora.method": "freeze"})


def test_what_the_other_settings_leave_nothing_to_do_decides_nothing() -> None:
    values = default_values() | {
        "validation_share": 0,
        "load_best_model_at_end": True,
        "early_stopping_patience": 2,
        "metric_for_best_model": "f1",
        "lora.bias": "all",
        "start_from": "an adapter",
        "lora.init_lora_weights": "pissa",
    }
    made = make_config(values, "m", "d", "classification", PROFILE)
    assert made == config(validation_share=0, start_from="an adapter")
    with_biases = shipped_profile("all-minilm-l6-v2")
    assert make_config(values, "m", "d", "classification", with_biases).lora.bias == "all"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("lora.layers_to_transform", "0-3, x", "“x” is no layer number"),
        ("lora.layers_to_transform", "-2", "no layer number"),
        ("lora.layers_to_transform", "5-2", "“5-2” is no layer number"),
        ("lora.rank_pattern", "v_proj", "not of the form"),
        ("lora.rank_pattern", "= 3", "not of the form"),
        ("lora.alpha_pattern", "v_proj = many", "not of the form"),
        ("lora.alpha_pattern", "[ = 3", "no regular expression"),
        ("lora.target_pattern", "(q_proj", "no regular expression"),
    ],
)
def test_a_text_that_cannot_be_read_is_told_at_its_field(name: str, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as refused:
        make_config(default_values() | {name: text}, "m", "d")
    assert refused.value.field == name


def test_layers_are_numbers_and_ranges() -> None:
    values = default_values() | {"lora.layers_to_transform": " 8, 0-2 ,1 "}
    made = make_config(values, "m", "d")
    assert made.lora.layers_to_transform == (0, 1, 2, 8)
    assert form_values(made)["lora.layers_to_transform"] == "0-2, 8"


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("lora.r", 0, "lora.r"),
        ("lora.r", None, "lora.r"),
        ("lora.lora_alpha", -1, "lora.lora_alpha"),
        ("lora.lora_dropout", 1.5, "lora.lora_dropout"),
        ("epochs", 0, "epochs"),
        ("batch_size", 2.5, "batch_size"),
        ("seed", None, "seed"),
        ("schedule", "zigzag", "schedule"),
    ],
)
def test_a_bad_value_names_its_field(name: str, value: Any, field: str) -> None:
    with pytest.raises(SettingsError) as refused:
        make_config(default_values() | {name: value}, "m", "d")
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("model", "dataset", "field"), [("m", "", "dataset"), ("  ", "d", "base_model")]
)
def test_data_and_model_are_needed(model: str, dataset: str, field: str) -> None:
    with pytest.raises(SettingsError) as refused:
        make_config(default_values(), model, dataset)
    assert refused.value.field == field


@pytest.mark.parametrize("text", [b"", b"[]", b"[" * 100_000, b"\xff\xfe", b"3"])
def test_what_is_no_settings_file_is_refused(text: bytes) -> None:
    with pytest.raises(SettingsError, match="not a settings file"):
        read_config(text, "m", "d")


def test_a_settings_file_may_leave_out_what_the_form_has() -> None:
    assert read_config(json.dumps({"epochs": 5}).encode(), "m", "d") == config(epochs=5)
    named = {"base_model": "other", "dataset": "x", "epochs": 1}
    assert read_config(json.dumps(named).encode(), "m", "d") == TrainConfig.parse(named)


def test_presets_are_valid_and_recognised() -> None:
    for key, preset in PRESETS.items():
        values = default_values() | preset_values(preset, PROFILE)
        chosen = make_config(values, "m", "d")
        assert count_parameters(PROFILE, chosen.lora).trainable > 0
        assert matching_preset(values, PROFILE) == key
    assert matching_preset(values | {"epochs": 77}, PROFILE) is None
    assert set(words.PRESETS) == set(words.PRESET_HELP) == set(PRESETS)


def test_the_chosen_preset_is_marked() -> None:
    marked = presets_html(DEFAULT_PRESET.key)
    assert marked.count('aria-pressed="true"') == 1
    own = presets_html(None)
    assert 'aria-pressed="true"' not in own
    assert words.PRESET_OWN in own


@pytest.mark.parametrize(
    ("changes", "rows", "expected"),
    [
        ({"epochs": 3, "batch_size": 8}, 80, (72, 8, 27)),
        ({"epochs": 1, "batch_size": 8, "validation_share": 0}, 9, (9, 0, 2)),
        ({"epochs": 2, "batch_size": 4, "gradient_accumulation_steps": 2}, 10, (9, 1, 4)),
        ({"epochs": 3, "max_steps": 5}, 80, (72, 8, 5)),
        ({"epochs": 0.5, "batch_size": 8, "validation_share": 0}, 80, (80, 0, 5)),
    ],
)
def test_updates_are_counted_as_the_engine_does(
    changes: dict[str, Any], rows: int, expected: tuple[int, int, int]
) -> None:
    seen = estimate(config(**changes), rows)
    assert (seen.train_rows, seen.validation_rows, seen.updates) == expected


def test_the_estimate_is_a_sum_that_can_be_followed() -> None:
    said = estimate_sentence(config(epochs=3, batch_size=8), 80)
    whole = "3 epochs of 9 updates (72 rows in batches of 8) = 27 updates"
    assert said == f"{whole}; 8 rows held back to measure"
    limited = estimate_sentence(config(epochs=3, batch_size=8, max_steps=5), 80)
    assert limited == f"{whole}; stopped after 5 updates; 8 rows held back to measure"


def test_rows_that_are_not_drawn_are_not_counted() -> None:
    chat = Dataset.model_construct(task="chat", rows=1000, characters=80_000)
    assert pieces(config(max_samples=100), chat) == 100
    assert pieces(config(max_samples=5000), chat) == pieces(config(), chat) == 1000
    text = Dataset.model_construct(task="text", rows=1000, characters=4_000_000)
    whole, tenth = (pieces(config(max_samples=most), text) for most in (None, 100))
    assert whole == pytest.approx(10 * tenth, rel=0.02)


@pytest.mark.parametrize(
    ("changes", "rows", "said"),
    [
        ({"epochs": 3, "batch_size": 8}, 80, ""),
        ({"epochs": 1, "batch_size": 8}, 80, "Only 9 updates"),
        ({"max_steps": 5, "batch_size": 1}, 80, "Only 5 updates"),
        ({"epochs": 99, "batch_size": 1, "validation_share": 0}, 4, "Only 4 rows"),
    ],
)
def test_a_run_that_is_too_small_to_teach_is_told(
    changes: dict[str, Any], rows: int, said: str
) -> None:
    warning = train_form.estimate_warning(config(**changes), rows)
    assert warning.startswith(said)
    assert bool(warning) == bool(said)


def test_nested_values() -> None:
    assert train_form.nested({"lora.r": 4, "epochs": 2}) == {"lora": {"r": 4}, "epochs": 2}
