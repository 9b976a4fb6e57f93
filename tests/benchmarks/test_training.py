"""The training benchmark with a tiny model: both sides run, learn the same, and are judged."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import training
from benchmarks.training import Work
from tests import tiny


def tiny_work(folder: Path, **changes: Any) -> Work:
    """Ten short rows, four updates of two of them."""
    table = folder / "rows.json"
    rows = [{"prompt": f"say {number}", "completion": f"it is {number}"} for number in range(10)]
    table.write_text(json.dumps(rows))
    config = {
        "base_model": str(tiny.save_model_folder(folder / "model")),
        "dataset": str(table),
        "validation_share": 0,
        "batch_size": 2,
        "max_steps": 4,
        "warmup_ratio": 0,
        "precision": "fp32",
        "lora": {"r": 2, "lora_dropout": 0},
    }
    return Work("tiny", config, 3.0, 0.25, 0.001, precisions=("fp32",), compared=3, **changes)


def test_both_sides_learn_the_same_and_the_table_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tiny_work(tmp_path)
    monkeypatch.setattr(training, "works", lambda *_: {"qv": work})
    training.main(["--runs", "1", "--work", "qv", "--results", str(tmp_path)])
    written = json.loads((tmp_path / "training.json").read_text("utf-8"))
    speed, memory, loss = written["bars"]
    assert (speed["unit"], memory["unit"]) == ("tokens/s", "MB peak")
    assert loss["reached"], loss
    (pair,) = written["details"]["qv"]["pairs"]
    for side in ("ours", "reference"):
        assert len(pair[side]["losses"]) == 4
        assert pair[side]["tokens_per_second"] > 0
        assert pair[side]["peak_mb"] > 0
    table = capsys.readouterr().out
    assert table.count("| tiny |") == 3


def test_real_rows_are_those_of_the_issue(tmp_path: Path) -> None:
    if not training.DATA.is_dir():
        pytest.skip("the real data is not here")
    works = training.works(training.DATA, tmp_path)
    assert list(works) == ["qv", "linear", "mrpc", "fp32"]
    chat = works["qv"].config
    assert len(json.loads(Path(chat["dataset"]).read_text("utf-8"))) == 64
    assert (chat["batch_size"], chat["max_length"], chat["lora"]["r"]) == (8, 512, 8)
    assert works["fp32"].config["precision"] == "fp32"
    pairs = works["mrpc"].config
    assert (pairs["epochs"], pairs["batch_size"], pairs["learning_rate"]) == (3, 16, 2e-3)


def test_accuracy_is_judged_by_the_reference_s_seeds(tmp_path: Path) -> None:
    work = tiny_work(tmp_path)

    def found(ours: list[float], theirs: list[float]) -> list[dict[str, Any]]:
        return [
            {"ours": {"test": {"accuracy": a}}, "reference": {"test": {"accuracy": b}}}
            for a, b in zip(ours, theirs, strict=True)
        ]

    assert training._accuracy(work, found([0.75, 0.76, 0.77], [0.76, 0.77, 0.78])).reached
    assert not training._accuracy(work, found([0.73, 0.75, 0.79], [0.76, 0.77, 0.78])).reached
