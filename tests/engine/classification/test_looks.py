"""Accuracy and macro F1 at each look at the validation rows, and what goes by them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lora_engine import scores
from lora_engine.batches import Example
from lora_engine.checkpoint_folder import STATE
from lora_engine.class_loss import PaddedClasses, loss_and_scores
from lora_engine.config import LoraConfig, TrainConfig
from lora_engine.evaluate import look
from lora_engine.fast.packed_classes import PackedClasses, choose_classes
from lora_engine.inspection import profile_model
from lora_engine.lora.inject import inject
from lora_engine.loss import mean_loss
from lora_engine.progress import Progress
from lora_engine.train import TrainResult
from tests import tiny

Run = Callable[..., TrainResult]
NAMES = ("eval_loss", "eval_accuracy", "eval_f1")


def handfuls() -> list[list[Example]]:
    """Rows of three classes and of many lengths, more than one pack takes."""
    generator = torch.Generator().manual_seed(1)
    rows: list[Example] = []
    for number in range(50):
        length = 3 + number * 7 % 40
        ids = torch.randint(2, tiny.VOCABULARY, (length,), generator=generator).tolist()
        rows.append({"input_ids": ids, "labels": [number % 3], "token_type_ids": [0] * length})
    return [rows[:32], rows[32:]]


def paths(weights: tuple[float, ...] | None) -> tuple[PaddedClasses, PaddedClasses]:
    """The plain way and the packed way, each with a model of its own of the same weights."""
    found = []
    for packs in (False, True):
        torch.manual_seed(0)
        model = tiny.bert(num_labels=3)
        inject(model, LoraConfig(), profile_model(model, "x"))
        model.eval()
        plain = PaddedClasses(model, 1, 4, weights)
        config = TrainConfig(base_model="x", dataset="y", fast=packs)
        found.append(choose_classes(model, plain, config, longest=42))
    assert isinstance(found[1], PackedClasses)
    return found[0], found[1]


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize("weights", [None, (0.5, 1.0, 3.0)])
def test_packed_rows_have_the_loss_and_the_scores_of_padded_ones(
    weights: tuple[float, ...] | None,
) -> None:
    plain, packed = paths(weights)
    expected = loss_and_scores(plain, handfuls())
    assert expected[0] == pytest.approx(mean_loss(plain, handfuls()), rel=1e-6)
    rows = [row for rows in handfuls() for row in rows]
    thought = [int(plain.logits([row]).argmax()) for row in rows]
    assert len(set(thought)) > 1
    matrix = scores.confusion([row["labels"][0] for row in rows], thought, 3)
    assert expected[1] == {
        "eval_accuracy": scores.accuracy(matrix),
        "eval_f1": scores.macro_f1(matrix),
    }
    found = loss_and_scores(packed, handfuls())
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found[0] == pytest.approx(mean_loss(packed, handfuls()), rel=1e-6)
    assert found[1] == expected[1]


def test_a_look_reads_each_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _ = paths(None)
    read = []
    logits = PaddedClasses.logits

    def counted(path: PaddedClasses, examples: list[Example]) -> torch.Tensor:
        read.append(len(examples))
        return logits(path, examples)

    monkeypatch.setattr(PaddedClasses, "logits", counted)
    look(plain, handfuls())
    assert sum(read) == 50


def test_every_look_tells_accuracy_and_f1(run: Run, tmp_path: Path) -> None:
    reports: list[Progress] = []
    metrics = run(heard=reports.append).metrics
    told = [report for report in reports if report.eval_loss is not None]
    assert len(told) > 5
    assert all(0 <= getattr(report, name) <= 1 for report in told for name in NAMES[1:])
    history = metrics["eval_history"]
    assert [{name: look[name] for name in NAMES} for look in history] == [
        {name: getattr(report, name) for name in NAMES} for report in told
    ]
    assert [look["step"] for look in history] == [report.step for report in told]
    assert history[-1]["eval_accuracy"] == metrics["validation"]["accuracy"]
    assert history[-1]["eval_f1"] == metrics["validation"]["f1_macro"]
    written = json.loads((tmp_path / "out" / "adapter" / "metrics.json").read_text())
    assert written["eval_history"] == history
    beside = [report for report in reports if report.eval_loss is None]
    assert all(getattr(report, name) is None for report in beside for name in NAMES)


def test_a_resumed_run_keeps_its_history(run: Run) -> None:
    whole = run("whole", epochs=3).metrics
    run("parts", stop_at=5, epochs=3)
    parts = run("parts", resume=True, epochs=3).metrics
    assert parts["eval_history"] == [look for look in whole["eval_history"] if look["step"] != 5]


def test_a_checkpoint_from_before_there_were_scores_is_gone_on_from(
    run: Run, tmp_path: Path
) -> None:
    run("out", stop_at=5, epochs=3)
    file = tmp_path / "out" / "checkpoint" / STATE
    contents = torch.load(file, weights_only=True)
    del contents["state"]["eval_scores"]
    torch.save(contents, file)
    looks = run("out", resume=True, epochs=3).metrics["eval_history"]
    assert [look["step"] for look in looks if "eval_f1" not in look] == [0, 1, 2, 3, 4]
    assert looks[-1]["step"] == 15
