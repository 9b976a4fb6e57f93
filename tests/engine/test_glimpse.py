"""Answers to held-out questions before and after a run."""

import json
from pathlib import Path

import pytest
import torch

from lora_engine import adapter as adapter_files
from lora_engine import glimpse
from lora_engine.generate import Decoding, Row, Speaker
from tests.engine.runs import Runs, assert_equal

ASKED = {"sample_answers": 2, "validation_share": 0.3}


@pytest.fixture
def run(run: Runs, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Runs that wait for their answers, however busy this machine is."""
    monkeypatch.setattr(glimpse, "LONGEST_WAIT", 3600.0)
    return run


def answer(folder: Path, question: str, adapter: Path | None = None) -> str:
    speaker = Speaker.load(folder, torch.device("cpu"))
    ids = speaker.prompt_ids([{"role": "user", "content": question}])
    row = Row(ids, adapter_files.read(adapter) if adapter else None)
    found = speaker.answer([row], Decoding(max_new_tokens=glimpse.LONGEST_ANSWER))
    return found.texts[0] + ("…" if found.cut[0] else "")


def test_the_base_answers_before_and_the_adapted_model_after(
    run: Runs, model_folder: Path, tmp_path: Path
) -> None:
    samples = run("out", **ASKED).metrics["samples"]
    assert len(samples) == 2
    for sample in samples:
        assert sample["expected"]
        assert sample["before"] == answer(model_folder, sample["question"])
        adapter = tmp_path / "out" / "adapter"
        assert sample["after"] == answer(model_folder, sample["question"], adapter)
    assert any(sample["before"] != sample["after"] for sample in samples)
    assert "Asking 2 held-out questions" in [report.message for report in run.reports]
    assert "samples" not in run("none", **ASKED | {"sample_answers": 0}).metrics
    tensors = [adapter_files.read(tmp_path / name / "adapter").tensors for name in ("out", "none")]
    assert_equal(*tensors)  # looking changes nothing


def test_a_resumed_run_knows_the_answers_from_before(run: Runs) -> None:
    whole = run("whole", **ASKED).metrics["samples"]
    stopped = run("out", stop_at=4, **ASKED).metrics["samples"]
    resumed = run("out", resume=True, **ASKED).metrics["samples"]
    assert [s["before"] for s in stopped] == [s["before"] for s in whole]
    assert resumed == whole
    assert not any("Asking" in report.message for report in run.reports if not report.step)


def test_a_slow_model_is_not_waited_for(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glimpse.time, "monotonic", iter(range(0, 10**9, 1000)).__next__)
    samples = run("out", **ASKED, max_steps=1).metrics["samples"]
    assert all(sample["after"].endswith("…") for sample in samples)


def test_without_held_out_rows_nothing_is_asked(run: Runs) -> None:
    assert "samples" not in run("out", sample_answers=3, validation_share=0).metrics


def test_a_question_that_is_longer_than_any_row_is_not_asked(run: Runs, tmp_path: Path) -> None:
    """Only its beginning was trained on; whole, it may need any amount of memory."""

    def chat(number: int, last: str) -> str:
        said = ("user", f"who is {number}"), ("assistant", "the sea"), ("user", last)
        turns = [{"role": role, "content": text} for role, text in (*said, ("assistant", "no"))]
        return json.dumps({"messages": turns})

    rows = [chat(n, "what burns") for n in range(6)]
    rows += [chat(n, "the light " * 60) for n in range(6, 12)]
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(rows), encoding="utf-8")
    asked = {"dataset": str(path), "sample_answers": 20, "validation_share": 0.5, "max_steps": 1}
    metrics = run("out", **asked).metrics
    assert metrics["rows_cut"] == 6
    assert 0 < len(metrics["samples"]) < metrics["validation_rows"]
    assert {sample["question"] for sample in metrics["samples"]} == {"what burns"}


def test_an_answer_that_is_not_learned_is_not_expected(run: Runs, tmp_path: Path) -> None:
    said = ("user", "who is {}"), ("assistant", "the sea"), ("user", "what"), ("assistant", "no")
    rows = []
    for number in range(6):
        turns = [{"role": role, "content": text.format(number)} for role, text in said]
        turns[3]["weight"] = 0  # type: ignore[assignment]
        rows.append(json.dumps({"messages": turns}))
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(rows), encoding="utf-8")
    asked = {"dataset": str(path), "sample_answers": 9, "validation_share": 0.5, "max_steps": 1}
    samples = run("out", **asked).metrics["samples"]
    assert {sample["expected"] for sample in samples} == {"the sea"}
    assert all(sample["question"].startswith("who is") for sample in samples)
