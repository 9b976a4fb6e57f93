"""What to try when memory runs out."""

from typing import Any

import pytest

from lora_engine.config import LoraConfig, TrainConfig
from lora_engine.lack_of_memory import cheaper_settings, out_of_memory


def config(**values: Any) -> TrainConfig:
    """A run of nothing, with these settings."""
    return TrainConfig(base_model="m", dataset="d", **values)


def test_cheaper_settings_come_from_the_jobs_own() -> None:
    dear = config(
        batch_size=8,
        gradient_accumulation_steps=3,
        max_length=1024,
        lora=LoraConfig(r=16, target_modules=("q", "k", "v")),
    )
    assert cheaper_settings(dear) == [
        "batch size 4 instead of 8 (with gradient accumulation 6 it learns the same)",
        "gradient checkpointing",
        "maximum length 512 instead of 1024",
        "rank r 8 instead of 16",
        "fewer target modules than 3",
        "a base in 4 bits",
        "a smaller base model",
    ]


@pytest.mark.parametrize("targets", ["all-linear", r".*_proj"])
def test_targets_in_words_are_not_counted_by_letters(targets: str) -> None:
    said = cheaper_settings(config(lora=LoraConfig(target_modules=targets)))
    assert "only query and value as target modules" in said


def test_a_rank_that_a_method_lacks_is_not_made_smaller() -> None:
    said = cheaper_settings(config(lora=LoraConfig(method="full")))
    assert not any("rank" in each or "target" in each for each in said)


@pytest.mark.parametrize(("batch", "cheaper", "steps"), [(2, 1, 2), (7, 1, 7), (9, 3, 3)])
def test_the_cheaper_batch_divides_the_dear_one(batch: int, cheaper: int, steps: int) -> None:
    first = cheaper_settings(config(batch_size=batch))[0]
    assert first.startswith(f"batch size {cheaper} instead of {batch} ")
    assert f"accumulation {steps} it" in first


def test_nothing_left_to_save_but_the_model() -> None:
    least = config(
        batch_size=1,
        max_length=64,
        gradient_checkpointing="on",
        lora=LoraConfig(r=1, init_lora_weights="pissa"),
    )
    assert out_of_memory(least) == ("The machine ran out of memory: try a smaller base model.")
