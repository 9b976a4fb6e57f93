"""A run from settings to zip, with a tiny real model."""

import importlib
import itertools
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from lora_engine import adapter
from lora_engine.batches import Example
from lora_engine.config import TrainConfig
from lora_engine.errors import DataError, SettingsError, WorkbenchError
from lora_engine.loss import LossPath
from lora_engine.prepare import prepare
from tests import tiny
from tests.engine.runs import FILES, Runs, assert_equal


def test_run_learns_tells_and_leaves_every_file(run: Runs, tmp_path: Path) -> None:
    result = run("out")
    assert not result.stopped
    assert result.adapter == tmp_path / "out" / "adapter.zip"
    with zipfile.ZipFile(result.adapter) as zipped:
        assert set(zipped.namelist()) == FILES
    assert {p.name for p in (tmp_path / "out" / "adapter").iterdir()} == FILES

    metrics = result.metrics
    assert metrics["train_rows"] == 9
    assert metrics["validation_rows"] == 1
    assert metrics["steps"] == metrics["total_steps"] == 12  # 4 epochs of 9 rows, 3 an update
    assert metrics["loss_last"] < metrics["loss_first"] - 0.2
    assert metrics["trainable"] == 2 * 8 * (64 + 64) + 2 * 8 * (64 + 32)
    assert json.loads((tmp_path / "out" / "adapter" / "metrics.json").read_text()) == metrics
    kept = TrainConfig.read(tmp_path / "out" / "adapter" / "train_config.json")
    assert kept == run.config()

    steps = [report for report in run.reports if report.phase == "training"]
    assert [report.step for report in steps] == list(range(1, 13))
    assert steps[-1].loss == metrics["loss_last"]
    assert all(report.total_steps == 12 for report in steps)
    measured = [report.eval_loss for report in run.reports if report.eval_loss is not None]
    assert measured[0] == metrics["eval_loss_before"]
    assert measured[-1] == metrics["eval_loss_after"]
    phases = [report.phase for report in run.reports]
    assert phases[0] == "preparing"
    assert phases[-1] == "saving"


def test_a_seed_decides_a_run(run: Runs) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        run(name, seed=seed)
    assert_equal(run.tensors("a"), run.tensors("b"))
    with pytest.raises(AssertionError):
        assert_equal(run.tensors("a"), run.tensors("c"))


@pytest.mark.parametrize("stop_at", [1, 5, 11])
def test_stopped_and_resumed_ends_where_an_uninterrupted_run_ends(run: Runs, stop_at: int) -> None:
    whole = run("whole")
    first = run("parts", stop_at=stop_at)
    assert first.stopped
    assert first.metrics["steps"] == stop_at
    assert first.adapter is not None, "what was learned so far is kept"
    second = run("parts", resume=True)
    assert not second.stopped
    assert run.reports[0].phase == "preparing"
    assert min(r.step for r in run.reports if r.phase == "training") == stop_at + 1
    assert_equal(run.tensors("whole"), run.tensors("parts"))
    for key in ("loss_first", "loss_last", "eval_loss_before", "eval_loss_after", "tokens"):
        assert second.metrics[key] == whole.metrics[key]


@pytest.mark.parametrize("shorter", [False, True])
def test_resume_refuses_other_rows_behind_the_same_path(
    run: Runs, tmp_path: Path, data_file: Path, shorter: bool
) -> None:
    changing = tmp_path / "rows.jsonl"
    rows = data_file.read_text().splitlines()
    changing.write_text("\n".join(rows))
    run("out", stop_at=4, dataset=str(changing))
    changing.write_text("\n".join(rows[:-1] if shorter else [*rows[:-1], rows[0]]))
    with pytest.raises(DataError, match="not the rows that this run began with") as refused:
        run("out", resume=True, dataset=str(changing))
    assert "\n" not in str(refused.value)
    changing.write_text("\n".join(rows))
    assert run("out", resume=True, dataset=str(changing)).metrics["stopped"] is False


def test_resume_refuses_settings_that_the_run_did_not_begin_with(run: Runs) -> None:
    run("out", stop_at=4)
    with pytest.raises(SettingsError, match=r"\(learning_rate, weight_decay\)") as refused:
        run("out", resume=True, learning_rate=1e-5, weight_decay=0.1)
    assert refused.value.field == "learning_rate"
    assert run("out", resume=True, max_steps=6).metrics["steps"] == 6


def test_a_checkpoint_from_before_rows_were_compared_is_gone_on_from(
    run: Runs, tmp_path: Path
) -> None:
    run("out", stop_at=4)
    state = tmp_path / "out" / "checkpoint" / "state.pt"
    contents = torch.load(state, weights_only=True)
    del contents["data"], contents["settings"]
    torch.save(contents, state)
    run("out", resume=True)
    assert min(r.step for r in run.reports if r.phase == "training") == 5


def test_stop_before_the_first_update_leaves_no_adapter(run: Runs, tmp_path: Path) -> None:
    result = run("none", stop_at=0)
    assert result.stopped
    assert result.adapter is None
    assert not (tmp_path / "none" / "adapter.zip").exists()


def test_interrupted_checkpoint_is_not_trusted(run: Runs, tmp_path: Path) -> None:
    """Killed between the two renames: the checkpoint before is the one to go on from."""
    run("whole")
    run("parts", stop_at=4)
    checkpoint = tmp_path / "parts" / "checkpoint"
    checkpoint.rename(checkpoint.with_name("checkpoint.old"))
    (tmp_path / "parts" / "checkpoint.part").mkdir()
    (tmp_path / "parts" / "checkpoint.part" / "state.pt").write_bytes(b"half")
    run("parts", resume=True)
    assert_equal(run.tensors("whole"), run.tensors("parts"))


@pytest.mark.parametrize(
    ("update", "loss", "sentence"),
    [
        (4, float("nan"), "The loss is no longer a number after update 3: try a lower learning"),
        (4, float("inf"), "The loss is no longer a number after update 3: try a lower learning"),
        (4, 1.0, "The loss is no longer a number after update 4: try a lower learning"),
        (1, float("nan"), "The loss of the first update is not a number: try precision fp32"),
    ],
)
def test_a_loss_that_is_no_number_ends_the_run_and_spares_the_checkpoint(
    run: Runs, monkeypatch: pytest.MonkeyPatch, update: int, loss: float, sentence: str
) -> None:
    """Also where the loss comes last: the weights are no numbers before the loss shows it."""
    engine, updates = importlib.import_module("lora_engine.train"), itertools.count(1)
    backward = engine.backward

    def diverging(path: LossPath, examples: list[Example]) -> float:
        if next(updates) != update:
            return float(backward(path, examples))
        weights = path._model.parameters()  # type: ignore[attr-defined]
        for parameter in weights:
            if parameter.requires_grad:
                parameter.grad = torch.full_like(parameter, torch.nan)
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(engine, "backward", diverging)
        with pytest.raises(WorkbenchError, match=sentence):
            run("out", lora={"lora_dropout": 0})
    assert {report.loss for report in run.reports} >= {None}
    assert all(report.loss is None or math.isfinite(report.loss) for report in run.reports)
    run("whole", lora={"lora_dropout": 0})
    run("out", resume=True, lora={"lora_dropout": 0})
    assert min(r.step for r in run.reports if r.phase == "training") == update
    assert_equal(run.tensors("whole"), run.tensors("out"))


def test_measured_values_that_are_no_numbers_are_null_in_the_files(
    run: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = importlib.import_module("lora_engine.train")
    monkeypatch.setattr(engine, "look", lambda *_: (float("nan"), {}))
    run("out", max_steps=1)
    text = (tmp_path / "out" / "adapter" / "metrics.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["eval_loss_after"] is None


def test_accumulation_is_the_same_update(run: Runs) -> None:
    """An update's loss is a mean over its tokens, however it is cut into batches."""
    settings: dict[str, Any] = {"lora": {"lora_dropout": 0}, "fast": False, "max_steps": 3}
    run("whole", batch_size=4, **settings)
    run("parts", batch_size=2, gradient_accumulation_steps=2, **settings)
    ours, theirs = run.tensors("whole"), run.tensors("parts")
    for key, tensor in ours.items():
        torch.testing.assert_close(theirs[key], tensor, atol=1e-4, rtol=1e-3)


def test_fast_path_learns_what_the_plain_path_learns(run: Runs) -> None:
    metrics = [
        run(name, fast=fast, lora={"lora_dropout": 0}).metrics
        for name, fast in (("fast", True), ("plain", False))
    ]
    for key in ("loss_first", "loss_last", "eval_loss_before", "eval_loss_after"):
        assert metrics[0][key] == pytest.approx(metrics[1][key], rel=1e-3)
    assert metrics[0]["tokens"] == metrics[1]["tokens"]


def test_run_loads_in_the_reference_with_the_same_logits(run: Runs, model_folder: Path) -> None:
    run("out", precision="fp32", lora={"r": 4, "target_modules": ["q_proj", "up_proj"]})
    folder = run.tmp_path / "out" / "adapter"
    theirs = peft.PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(model_folder), folder
    ).eval()
    ours = AutoModelForCausalLM.from_pretrained(model_folder)
    adapter.attach(ours, adapter.read(folder))
    ids = torch.arange(40)[None]
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(ids).logits, theirs(ids).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_adapter_is_float32_in_every_precision(run: Runs, precision: str) -> None:
    result = run("out", precision=precision, max_steps=2)
    assert {tensor.dtype for tensor in run.tensors("out").values()} == {torch.float32}
    assert result.metrics["dtype"] == {"fp32": "float32", "bf16": "bfloat16"}[precision]


def test_rows_are_cut_at_what_the_model_has_positions_for(run: Runs, tmp_path: Path) -> None:
    folder = tiny.save_model_folder(tmp_path / "gpt2", tiny.gpt2())
    long = tmp_path / "long.jsonl"
    rows = [{"prompt": f"what {i}", "completion": "the light " * 600} for i in range(3)]
    long.write_text("\n".join(map(json.dumps, rows)))
    result = run(
        "out", base_model=str(folder), dataset=str(long), max_length=4096, max_steps=1, epochs=1
    )
    assert result.metrics["tokens"] <= 3 * 512


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"lora": {"target_modules": []}}, SettingsError, "at least one target module"),
        ({"lora": {"target_modules": ["wq"]}}, SettingsError, "no module named 'wq'"),
        ({"max_length": 8}, DataError, "maximum length of 8 tokens"),
        ({"base_model": "/nowhere/at/all"}, WorkbenchError, "folder"),
        ({"dataset": "/nowhere.csv"}, WorkbenchError, "file"),
    ],
)
def test_bad_input_is_one_sentence(
    run: Runs, changes: dict[str, Any], error: type[WorkbenchError], sentence: str
) -> None:
    with pytest.raises(error, match=sentence) as raised:
        run("bad", **changes)
    assert "\n" not in str(raised.value)


def test_the_longest_row_may_be_one_of_the_test_file(run: Runs, home: Path, tmp_path: Path) -> None:
    """A way that holds up to some length must hold for the rows that are only measured."""
    long = tmp_path / "long.jsonl"
    rows = [{"prompt": "what is the sea", "completion": "the light burns " * 10}]
    long.write_text("\n".join(map(json.dumps, rows)))
    alone = prepare(run.config(), home, tmp_path / "a", lambda _: None)
    tested = prepare(run.config(test_dataset=str(long)), home, tmp_path / "b", lambda _: None)
    assert tested.test is not None
    assert tested.longest == tested.test.encoded.longest > alone.longest


def test_of_a_large_data_set_some_rows_are_drawn(run: Runs, home: Path, tmp_path: Path) -> None:
    def lines(name: str, **changes: Any) -> list[int]:
        work = prepare(run.config(**changes), home, tmp_path / name, lambda _: None)
        both = [*work.training.said(range(len(work.training))).values()]
        both += work.validation.said(range(len(work.validation))).values()
        return sorted(sample.line for sample in both)

    few = lines("a", max_samples=5)
    assert len(set(few)) == 5
    assert lines("b", max_samples=5) == few, "the seed decides"
    assert lines("c", max_samples=5, seed=7) != few
    assert len(lines("d", max_samples=99)) == 10
    roles = {"text": "completion"}
    assert len(lines("e", max_samples=5, roles=roles)) == 5
    metrics = run("out", max_samples=5, epochs=1).metrics
    assert (metrics["rows"], metrics["train_rows"], metrics["validation_rows"]) == (5, 4, 1)
    assert (metrics["rows_not_drawn"], metrics["rows_left_out"]) == (5, 0)
    assert "5 not drawn" in (tmp_path / "out" / "adapter" / "README.md").read_text()
    with pytest.raises(WorkbenchError, match="begin a new run"):
        run("out", max_samples=6, epochs=2, resume=True)
