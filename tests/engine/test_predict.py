"""An adapter answers a whole file: each task, files without answers, stops, what is refused."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_engine import adapter as adapter_files
from lora_engine import answering
from lora_engine.__main__ import main
from lora_engine.adapter_config import TASK
from lora_engine.classify import Judge, Question, head_of
from lora_engine.compare import compare
from lora_engine.config import LoraConfig
from lora_engine.data.library import Library
from lora_engine.errors import DataError, SettingsError, WorkbenchError
from lora_engine.generate import Decoding, Speaker
from lora_engine.inspection import build_profile
from lora_engine.lora.inject import inject
from lora_engine.model import load_base
from lora_engine.predict import LOOKED_AT, Order, _Table, predict
from lora_engine.prediction import Prediction, sentence_of
from lora_engine.progress import Progress
from tests import tiny
from tests.engine.adapters import make, shake

CPU = torch.device("cpu")
SHORT = Decoding(max_new_tokens=6)
QUESTIONS = ["what is the sea", "the light burns the sea, who is what", "who", "what burns"]


@pytest.fixture
def adapter(model_folder: Path, tmp_path: Path) -> Path:
    return make(tmp_path / "adapter", tiny.llama(), str(model_folder), size=0.3)


def write(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


class Asking:
    """Asks an adapter, and keeps what was told."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.told: list[str] = []

    def __call__(
        self, path: Path, data: Path | str, out: Path, stop_after: int = -1, **order: Any
    ) -> Prediction:
        """``stop_after``: how often is asked before it is to stop."""
        asked = 0

        def should_stop() -> bool:
            nonlocal asked
            asked += 1
            return 0 <= stop_after < asked

        whole = Order(str(data), out, order.pop("decoding", SHORT), **order)
        return predict(
            path, whole, home=self.home, report=self._hear, should_stop=should_stop, device="cpu"
        )

    def _hear(self, progress: Progress) -> None:
        self.told.append(progress.message)


@pytest.fixture
def asking(home: Path) -> Asking:
    return Asking(home)


def test_questions_alone_are_answered_as_one_by_one(
    adapter: Path, asking: Asking, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "AT_ONCE", 4)
    rows = [["id", "question", "note"], *([str(n), q, "灯"] for n, q in enumerate(QUESTIONS))]
    data = write(tmp_path / "questions.csv", [*rows, ["4", " ", ""], ["5", QUESTIONS[0], ""]])
    found = asking(adapter, data, tmp_path / "out.csv", with_base=True)
    assert (tmp_path / "out.csv").read_bytes().startswith(b"\xef\xbb\xbfid,question,note,model_")
    written = table(tmp_path / "out.csv")
    assert [row["id"] for row in written] == list("012345")
    assert written[0]["note"] == "灯"
    for row in (*written[:4], written[5]):
        alone = compare(adapter, row["question"], SHORT, home=home, device="cpu")
        assert (row["model_answer"], row["base_answer"]) == (alone["adapted"], alone["base"])
    assert (written[4]["model_answer"], written[4]["base_answer"]) == ("", "")
    assert (found.rows, found.total_rows, found.unanswered) == (5, 5, 1)
    assert found.roles == {"prompt": "question"}
    assert found.scores is None
    assert "1 row has no answer; the first: Line 6 has nothing in “question”." in found.sentence
    assert asking.told[-1] == "Answered 5 of 5 rows"
    assert len(asking.told) >= 4, "batch by batch"


def test_expected_answers_are_compared(adapter: Path, asking: Asking, tmp_path: Path) -> None:
    first = asking(
        adapter, write(tmp_path / "q.csv", [["question"], *([q] for q in QUESTIONS)]),
        tmp_path / "first.csv", decoding=Decoding(max_new_tokens=4),
    )  # fmt: skip
    assert first.cut > 0
    assert f"{first.cut} answers were cut off after at most 4 tokens" in first.sentence
    answers = [row["model_answer"] for row in table(tmp_path / "first.csv")]
    rows = [*zip(QUESTIONS, [*answers[:2], "quite another thing", ""], strict=True)]
    data = write(tmp_path / "both.csv", [["model_answer", "question"], *((a, q) for q, a in rows)])
    decoding = Decoding(max_new_tokens=4)
    found = asking(adapter, data, tmp_path / "out.jsonl", with_base=True, decoding=decoding)
    assert found.roles == {"prompt": "question", "completion": "model_answer"}
    assert found.columns == ("model_answer_2", "base_answer")
    assert found.scores is not None
    assert found.scores["rows"] == 3
    assert found.scores["exact_match"] == pytest.approx(2 / 3)
    assert 0.6 <= found.scores["rouge_l"] < 0.7
    assert found.scores["base"]["exact_match"] < found.scores["exact_match"]
    assert "Exact match 66.7%" in found.sentence
    assert "3 rows with an expected answer; the base model" in found.sentence
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["model_answer_2"] for row in written] == answers


def test_a_kept_set_keeps_its_numbers_and_lists(
    adapter: Path, asking: Asking, home: Path, tmp_path: Path
) -> None:
    said = [{"role": "user", "content": "who"}, {"role": "assistant", "content": "the sea"}]
    rows = [{"id": n, "messages": said[: 1 + n % 2], "zip": "01"} for n in range(3)]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    kept = Library(home).add(file)
    asking(adapter, kept.dataset_id, tmp_path / "out.jsonl", limit=2)
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    answers = [row.pop("model_answer") for row in written]
    assert written == rows[:2]
    assert answers[0] == answers[1], "the answer is not shown to the model"


def test_a_text_model_goes_on_with_each_text(
    adapter: Path, asking: Asking, model_folder: Path, tmp_path: Path
) -> None:
    (adapter / TASK).write_text('{"task": "text"}')
    data = write(tmp_path / "q.csv", [["text"], ["the sea"], ["the light burns"]])
    found = asking(adapter, data, tmp_path / "out.csv")
    assert (found.task, found.scores) == ("text", None)
    speaker = Speaker.load(model_folder, CPU)
    row = answering.Row(
        speaker.prompt_ids([{"role": "user", "content": "the sea"}], as_text=True),
        adapter_files.read(adapter),
    )
    expected = speaker.answer([row], SHORT).texts[0]
    assert table(tmp_path / "out.csv")[0]["model_answer"] == expected


def test_an_encoder_decoder_rewrites_each_row(asking: Asking, home: Path, tmp_path: Path) -> None:
    folder = tiny.save_model_folder(tmp_path / "t5", tiny.t5())
    path = make(tmp_path / "a", tiny.t5(), str(folder), size=0.5, target_modules=["q", "v"])
    data = write(tmp_path / "q.csv", [["input", "output"], ["the sea", "x"], ["who " * 300, ""]])
    found = asking(path, data, tmp_path / "out.csv")
    assert found.task == "seq2seq"
    assert found.scores is not None
    assert found.scores["rows"] == 1
    alone = compare(path, "the sea", SHORT, home=home, device="cpu")
    assert table(tmp_path / "out.csv")[0]["model_answer"] == alone["adapted"]


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """An adapter of two labels on a BERT."""
    folder = tmp_path / "bert"
    tiny.save_model_folder(folder, tiny.bert().base_model, tiny.pair_tokenizer())
    profile = build_profile(folder, str(folder), "classification", 2)
    model = load_base(folder, CPU, torch.float32, task="classification", num_labels=2)
    lora = LoraConfig.parse({"r": 4, "lora_dropout": 0, "target_modules": ["query", "value"]})
    inject(model, lora, profile)
    shake(adapter_files.trained_tensors(model), 1, 0.3)
    adapter_files.save(model, tmp_path / "sorter", lora, profile, str(folder))
    about = json.dumps({"task": "classification", "labels": ["calm", "loud"]})
    (tmp_path / "sorter" / TASK).write_text(about)
    return tmp_path / "sorter"


TEXTS = ["the sea is calm", "a boat comes home", "the light burns", "who asks what"]


def test_a_classifier_needs_no_labels(classifier: Path, asking: Asking, tmp_path: Path) -> None:
    data = write(tmp_path / "t.csv", [["Text", "id"], *([t, str(n)] for n, t in enumerate(TEXTS))])
    found = asking(classifier, data, tmp_path / "out.csv", limit=3)
    assert (found.scores, found.rows) == (None, 3)
    adapter = adapter_files.read(classifier)
    folder = tmp_path / "bert"
    judge = Judge(folder, head_of(adapter, folder), CPU)
    thought = judge.probabilities([Question(text, "", adapter) for text in TEXTS[:3]])
    for row, likely in zip(table(tmp_path / "out.csv"), thought, strict=True):
        assert row["predicted_label"] == ["calm", "loud"][likely.index(max(likely))]
        assert float(row["probability"]) == pytest.approx(max(likely), abs=1e-4)

    labels = [row["predicted_label"] for row in table(tmp_path / "out.csv")]
    other = {"calm": "loud", "loud": "calm"}
    rows = [*zip(TEXTS, [labels[0], labels[1], other[labels[2]], "unheard"], strict=True)]
    data = write(tmp_path / "l.csv", [["text", "label"], *rows])
    found = asking(classifier, data, tmp_path / "labelled.csv", with_base=True)
    assert found.columns == ("predicted_label", "probability", "base_label", "base_probability")
    assert found.scores is not None
    assert (found.scores["rows"], found.scores["accuracy"]) == (4, 0.5)
    assert found.scores["unknown_labels"] == 1
    assert found.scores["base"]["rows"] == 4
    assert "Accuracy 50.0%" in found.sentence
    assert "1 of their labels the adapter has never learned" in found.sentence


def test_expected_labels_may_be_written_differently(
    classifier: Path, asking: Asking, tmp_path: Path
) -> None:
    (classifier / TASK).write_text('{"task": "classification", "labels": ["0", "true"]}')
    rows = [*zip(TEXTS, ["0.0", "TRUE", " 0 ", "00"], strict=True)]
    data = write(tmp_path / "l.csv", [["text", "label"], *rows])
    found = asking(classifier, data, tmp_path / "out.csv")
    assert found.scores is not None
    assert (found.scores["rows"], found.scores["unknown_labels"]) == (4, 1)


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_stop_leaves_the_rows_that_are_done(
    by_hand: bool, adapter: Path, asking: Asking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "AT_ONCE", 1)
    monkeypatch.setattr(answering.Writing, "window", 3)
    rows = [[f"who is {'what ' * (n % 4)}", str(n)] for n in range(8)]
    data = write(tmp_path / "q.csv", [["question", "id"], *rows])
    whole = asking(adapter, data, tmp_path / "whole.csv")
    assert not whole.stopped
    out = tmp_path / "out.csv"
    if by_hand:  # Ctrl-C while the fifth row is answered

        def interrupted(progress: Progress) -> None:
            if progress.message.startswith("Answered 4"):
                raise KeyboardInterrupt

        monkeypatch.setattr(asking, "_hear", interrupted)
    found = asking(adapter, data, out, stop_after=-1 if by_hand else 4 * SHORT.max_new_tokens)
    assert found.stopped
    assert found.rows == 4
    assert found.sentence.startswith("Stopped: 4 of 8 rows")
    written = table(out)
    assert len(written) == 4
    assert written == [row for row in table(tmp_path / "whole.csv") if row in written]


def test_long_texts_are_not_sorted_without_a_look_at_the_stop(
    classifier: Path, asking: Asking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "MOST_CHARACTERS", 10)
    data = write(tmp_path / "t.csv", [["text"], *([text] for text in TEXTS)])
    whole = asking(classifier, data, tmp_path / "whole.csv")
    assert (whole.rows, whole.stopped) == (len(TEXTS), False)
    found = asking(classifier, data, tmp_path / "some.csv", stop_after=2)
    assert found.stopped
    assert table(tmp_path / "some.csv") == table(tmp_path / "whole.csv")[: found.rows]
    assert 0 < found.rows < len(TEXTS)


def test_rows_beyond_what_the_model_can_read(asking: Asking, tmp_path: Path) -> None:
    folder = tiny.save_model_folder(tmp_path / "gpt2", tiny.gpt2(), tiny.tokenizer())
    path = make(tmp_path / "a", tiny.gpt2(), str(folder), target_modules=["c_attn"])
    rows = [["question"], ["who"], ["x" * 480], ["x" * 600]]
    data = write(tmp_path / "q.csv", rows)
    found = asking(path, data, tmp_path / "out.csv", decoding=Decoding(max_new_tokens=40))
    assert (found.rows, found.unanswered) == (2, 1)
    assert "Line 4: The question has 6" in found.troubles[0]
    assert "room for 512" in found.troubles[0]


def test_what_cannot_be_done_is_one_sentence(adapter: Path, asking: Asking, tmp_path: Path) -> None:
    data = write(tmp_path / "q.csv", [["question"], ["who"]])
    out = tmp_path / "out.csv"
    empty = write(tmp_path / "empty.csv", [["question", "n"], [" ", "1"], ["", "2"]])
    for what, file, named, kind in (
        ("ends in .csv or .jsonl", data, {"out": tmp_path / "out.xlsx"}, SettingsError),
        ("There is no folder", data, {"out": tmp_path / "no" / "out.csv"}, SettingsError),
        ("is there already", data, {"out": data}, SettingsError),
        ("at least 1", data, {"limit": 0}, SettingsError),
        ("no data set and no file", tmp_path / "gone.csv", {}, DataError),
        ("No row of this file can be answered; the first: Line 2", empty, {}, DataError),
        ("no adapter at", data, {"path": tmp_path / "gone"}, WorkbenchError),
    ):
        given: dict[str, Any] = {"path": adapter, "out": out, **named}
        with pytest.raises(kind, match=what):
            asking(given.pop("path"), file, given.pop("out"), **given)
        assert not out.exists(), "nothing is left of what was refused"
    assert data.read_text().startswith("question"), "and nothing written over"


def test_the_command_line(
    adapter: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "q.csv", [["question", "answer"], ["who", "the sea"], ["what", ""]])
    out = tmp_path / "out.csv"
    command = ["predict", "--adapter", str(adapter), "--data", str(data), "--out", str(out)]
    command += ["--data-dir", str(home), "--max-new-tokens", "4", "--device", "cpu"]
    assert main([*command, "--json", "--limit", "1", "--with-base"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert (found["rows"], found["total_rows"], found["out"]) == (1, 1, str(out))
    assert "Answered 1 of 1 rows" in said.err
    assert list(table(out)[0]) == ["question", "answer", "model_answer", "base_answer"]
    assert main(command) == 1
    assert capsys.readouterr().err == f"{out} is there already; choose a new name.\n"
    out.unlink()
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    assert len(table(out)) == 2


def test_the_sentence_says_one_or_many() -> None:
    found = Prediction(
        out="x", task="chat", roles={}, columns=(), rows=1, total_rows=1, unanswered=0,
        troubles=(), cut=1, stopped=False, scores=None, quantization="none",
    )  # fmt: skip
    said = "1 row was answered. 1 answer was cut off after at most 8 tokens."
    assert sentence_of(found, 8) == said


def test_a_field_that_only_late_rows_have_is_a_column(adapter: Path, tmp_path: Path) -> None:
    rows = [{"question": "Who?"}] * LOOKED_AT + [{"question": "Who?", "note": "late"}]
    data = tmp_path / "late.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    table = _Table.of(str(data), "chat", adapter_files.read(adapter), tmp_path / "home")
    assert table.columns == ("question", "note")
