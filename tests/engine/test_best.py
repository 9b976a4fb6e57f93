"""Keeping the best weights of a run, and ending a run that gets no better."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lora_engine import adapter as adapter_files
from lora_engine import train as training
from lora_engine.best import best_of, gets_no_better, load_best, save_best
from lora_engine.config import TrainConfig
from lora_engine.errors import SettingsError
from tests import tiny
from tests.engine.runs import Runs, assert_equal

LOSSES = (5.0, 4.0, 3.0, 2.0, 2.5, 2.5, 2.6, 2.7, 2.8, 2.9, 3.0, 3.1, 3.2)
"""Before the first update, and after each of twelve: lowest after the third."""
STEADY = {"schedule": "constant", "warmup_ratio": 0, "load_best_model_at_end": True}


@pytest.fixture
def run(run: Runs, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Runs of twelve updates whose validation loss is always the same, whatever is learned."""

    def scripted(_path: object, updates: Iterator[object]) -> tuple[float, dict[str, float]]:
        list(updates)
        return LOSSES[run.reports[-1].step], {}

    monkeypatch.setattr(training, "look", scripted)
    return run


def tensors(tmp_path: Path, name: str) -> dict[str, torch.Tensor]:
    return adapter_files.read(tmp_path / name / "adapter").tensors


def test_the_best_weights_are_kept_not_the_last(run: Runs, tmp_path: Path) -> None:
    run("short", **STEADY, max_steps=3)
    whole = run("whole", **STEADY)
    assert_equal(tensors(tmp_path, "whole"), tensors(tmp_path, "short"))
    metrics = whole.metrics
    assert (metrics["steps"], metrics["kept_step"], metrics["eval_loss_after"]) == (12, 3, 2.0)
    assert not metrics["stopped"]
    readme = (tmp_path / "whole" / "adapter" / "README.md").read_text("utf-8")
    assert "kept as after update 3" in readme
    last = run("last", **STEADY | {"load_best_model_at_end": False})
    assert last.metrics["kept_step"] == 12
    name = next(iter(tensors(tmp_path, "last")))
    assert not torch.equal(tensors(tmp_path, "last")[name], tensors(tmp_path, "short")[name])


def test_a_resumed_run_still_knows_its_best(run: Runs, tmp_path: Path) -> None:
    run("short", **STEADY, max_steps=3)
    stopped = run("out", stop_at=6, **STEADY)
    assert stopped.stopped
    assert (stopped.metrics["steps"], stopped.metrics["kept_step"]) == (6, 3)
    assert_equal(tensors(tmp_path, "out"), tensors(tmp_path, "short"))
    resumed = run("out", resume=True, **STEADY)
    assert (resumed.metrics["steps"], resumed.metrics["kept_step"]) == (12, 3)
    assert_equal(tensors(tmp_path, "out"), tensors(tmp_path, "short"))


def test_a_loss_that_the_checkpoint_does_not_know_takes_no_place(
    run: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop measures beside the plan; gone on with, the run must still find its best."""
    monkeypatch.setattr(training, "evaluates_every", lambda _: 3)
    losses = {0: 5.0, 3: 2.0, 5: 1.0, 6: 2.5, 9: 2.6, 12: 2.7}
    measured = []

    def scripted(_path: object, updates: Iterator[object]) -> tuple[float, dict[str, float]]:
        list(updates)
        measured.append(run.reports[-1].step)
        return losses[measured[-1]], {}

    monkeypatch.setattr(training, "look", scripted)
    run("short", **STEADY, max_steps=3)
    stopped = run("out", stop_at=5, **STEADY)
    assert stopped.metrics["kept_step"] == 5
    resumed = run("out", resume=True, **STEADY)
    assert resumed.metrics["kept_step"] == 3
    assert_equal(tensors(tmp_path, "out"), tensors(tmp_path, "short"))
    longer = run("out", resume=True, **STEADY, epochs=4)
    assert longer.metrics["kept_step"] == 3, "a run that has ended may be made longer"


def test_a_run_ends_when_it_gets_no_better(run: Runs) -> None:
    result = run("out", **STEADY, early_stopping_patience=2)
    metrics = result.metrics
    assert (metrics["steps"], metrics["total_steps"], metrics["kept_step"]) == (5, 12, 3)
    assert metrics["ended_early"]
    assert not result.stopped
    assert not metrics["stopped"]
    assert run("patient", early_stopping_patience=10).metrics["steps"] == 12


def test_what_was_measured_before_training_does_not_count() -> None:
    assert best_of([(0, 1.0), (4, 3.0), (8, 2.0)]) == 8
    assert best_of([(0, 1.0)]) is None
    rising = [(0, 1.0), (1, 2.0), (2, 3.0), (3, 3.0)]
    assert gets_no_better(rising, 2)
    assert not gets_no_better(rising, 3)
    assert not gets_no_better(rising, None)
    assert not gets_no_better([*rising, (4, 1.5)], 2)


def test_another_updates_weights_are_not_taken(tmp_path: Path) -> None:
    model = tiny.llama()  # all of it is trained
    save_best(tmp_path / "best.safetensors", model, 4)
    before = model.get_parameter("model.norm.weight").detach().clone()
    with torch.no_grad():
        model.get_parameter("model.norm.weight").add_(1)
    assert not load_best(tmp_path / "best.safetensors", model, 8)
    assert not load_best(tmp_path / "none.safetensors", model, 4)
    assert load_best(tmp_path / "best.safetensors", model, 4)
    assert torch.equal(model.get_parameter("model.norm.weight"), before)


@pytest.mark.parametrize("name", ["load_best_model_at_end", "early_stopping_patience"])
def test_without_held_out_rows_there_is_no_best(name: str) -> None:
    with pytest.raises(SettingsError, match="validation share above 0"):
        TrainConfig.parse({"base_model": "m", "dataset": "d", "validation_share": 0, name: 1})
