"""A person's regular expressions."""

import pytest

from lora_engine import patterns
from lora_engine.config import LoraConfig, TrainConfig
from lora_engine.errors import SettingsError

ENDLESS = r"(\w|\.|[a-z.]+)*[0-9]$"
PATH = "model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize("match", [patterns.matches_whole, patterns.matches_end, patterns.is_found])
def test_a_pattern_without_an_end_is_a_sentence(match, monkeypatch):
    monkeypatch.setattr(patterns, "SECONDS", 0.05)
    assert not match("(.*)*x$", 3 * PATH), "re never comes back from this one"
    with pytest.raises(SettingsError, match="takes too long to match; simplify it"):
        match(ENDLESS, 200 * PATH)
    assert not match("nothing", PATH)


def test_usual_patterns_match_as_before():
    assert patterns.matches_whole(r".*\.(q|v)_proj", PATH)
    assert not patterns.matches_whole(r"(q|v)_proj", PATH)
    assert patterns.matches_end(r"q_proj|v_proj", PATH)
    assert not patterns.matches_end("proj", PATH)
    assert patterns.is_found("SELF_ATTN", PATH)
    with pytest.raises(ValueError, match="no regular expression"):
        patterns.check("(")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"max_steps": 10**30}, "max_steps must be at most 10,000,000"),
        ({"max_length": 10**9}, "max_length must be at most 1,048,576"),
        ({"lora": {"layers_to_transform": [0, 10**30]}}, "must be at most 10,000"),
    ],
)
def test_numbers_that_no_run_needs_are_refused(values, said):
    with pytest.raises(SettingsError, match=said):
        TrainConfig.parse({"base_model": "m", "dataset": "d", **values})
    assert LoraConfig(layers_to_transform=(0, 10_000))
