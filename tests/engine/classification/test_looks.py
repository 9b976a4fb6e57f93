"""Accuracy and macro F1 at each look at the validation rows, and what goes by them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_engine import adapter as adapter_files
from lora_engine import scores
from lora_engine import train as training
from lora_engine.batches import Example
from lora_engine.checkpoint_folder import STATE
from lora_engine.class_loss import PaddedClasses, loss_and_scores
from lora_engine.config import LoraConfig, TrainConfig
from lora_engine.errors import SettingsError
from lora_engine.evaluate import look
from lora_engine.fast.packed_classes import PackedClasses, choose_classes
from lora_engine.inspection import profile_model
from lora_engine.lora.inject import inject
from lora_engine.loss import mean_loss
from lora_engine.progress import Progress
from lora_engine.train import TrainResult
from tests import tiny
from tests.engine.classification.texts import write
from tests.engine.runs import assert_equal

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


LOOKS = (  # loss, accuracy and macro F1, before the first update and after each
    (5.0, 0.2, 0.2), (4.0, 0.6, 0.3), (3.0, 0.8, 0.4), (2.0, 0.8, 0.5),
    (2.5, 0.7, 0.6), (2.6, 0.8, 0.6), (2.7, 0.5, 0.5),
)  # fmt: skip


@pytest.fixture
def scripted(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs of six updates whose looks find the same, whatever is learned."""
    reports: list[Progress] = []

    def find(_path: object, updates: Iterator[object]) -> tuple[float, dict[str, float]]:
        list(updates)
        loss, accuracy, f1 = LOOKS[reports[-1].step]
        return loss, {"eval_accuracy": accuracy, "eval_f1": f1}

    monkeypatch.setattr(training, "look", find)

    def start(name: str, **changes: Any) -> TrainResult:
        settings = {"max_steps": 6, "load_best_model_at_end": True} | changes
        return run(name, heard=reports.append, **settings)

    return start


@pytest.mark.parametrize(
    ("metric", "kept", "ended", "said"),
    [
        ("loss", 3, 5, "that loss was lowest"),
        ("accuracy", 2, 4, "that accuracy was highest"),
        ("f1", 4, 6, "that macro F1 was highest"),
    ],
)
def test_the_best_is_kept_and_the_end_found_by_the_metric(
    scripted: Run, tmp_path: Path, metric: str, kept: int, ended: int, said: str
) -> None:
    by = {"metric_for_best_model": metric, "schedule": "constant", "warmup_ratio": 0}
    assert scripted("early", early_stopping_patience=2, **by).metrics["steps"] == ended
    whole = scripted("whole", **by).metrics
    assert (whole["steps"], whole["kept_step"]) == (6, kept)
    assert whole["metric_for_best_model"] == metric
    assert said in (tmp_path / "whole" / "adapter" / "README.md").read_text("utf-8")
    scripted("short", **by | {"max_steps": kept})
    best, short = (
        adapter_files.read(tmp_path / name / "adapter").tensors for name in ("whole", "short")
    )
    assert_equal(best, short)


def test_a_resumed_run_still_knows_its_best_by_accuracy(scripted: Run) -> None:
    by = {"metric_for_best_model": "accuracy"}
    assert scripted("out", stop_at=4, **by).stopped
    assert scripted("out", resume=True, **by).metrics["kept_step"] == 2


def test_without_labels_there_is_no_accuracy_to_go_by(run: Run, tmp_path: Path) -> None:
    texts = write(tmp_path / "texts.csv", [{"text": "the light burns"}] * 4)
    model = tiny.save_model_folder(tmp_path / "llama", tiny.llama())
    with pytest.raises(
        SettingsError, match="needs the task classification, and this run's is text"
    ):
        run(base_model=str(model), dataset=str(texts), metric_for_best_model="accuracy")
