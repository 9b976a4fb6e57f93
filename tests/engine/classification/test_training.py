"""Classifiers from a table to a zip, with tiny real models: learned, measured, read elsewhere."""

import contextlib
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from lora_engine import adapter as adapter_files
from lora_engine.class_loss import PaddedClasses
from lora_engine.classify import Judge, Question, head_of
from lora_engine.compare import compare
from lora_engine.errors import DataError, SettingsError, WorkbenchError
from lora_engine.generate import Decoding
from lora_engine.tasks.choice import choose_task
from lora_engine.train import TrainResult
from tests import tiny
from tests.engine.classification.texts import DOINGS, THINGS, rows_of, write
from tests.engine.runs import FILES

CPU = torch.device("cpu")


def test_a_run_learns_measures_and_leaves_every_file(
    run: Callable[..., TrainResult], tmp_path: Path
) -> None:
    said = (("sea", "loud"), ("boat", "loud"), ("light", "calm"), ("keeper", "loud"))
    test_rows = [{"text": f"a {thing} burns", "label": label} for thing, label in said]
    test_file = write(tmp_path / "test.csv", [*test_rows, {"text": "a sea", "label": "quiet"}])
    metrics = run(test_dataset=str(test_file)).metrics
    assert metrics["task"] == "classification"
    assert metrics["labels"] == ["calm", "loud"]
    assert metrics["label_counts"] == {"calm": 12, "loud": 12}
    assert metrics["validation_rows"] == 6
    assert metrics["eval_loss_after"] < metrics["eval_loss_before"] - 0.3
    validation, test = metrics["validation"], metrics["test"]
    assert validation["loss"] == pytest.approx(metrics["eval_loss_after"], rel=1e-5)
    assert validation["accuracy"] >= 5 / 6
    assert [sum(row) for row in validation["confusion"]] == [3, 3]
    assert test["dataset"] == "test.csv"
    assert test["rows"] == 4, "the label that was never trained is left out"
    assert test["accuracy"] == 0.75
    assert test["confusion"] == [[1, 0], [1, 2]]
    assert test["f1"] == pytest.approx(0.8)
    assert test["f1_macro"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert test["positive_label"] == "loud"
    assert test["by_label"]["loud"]["recall"] == pytest.approx(2 / 3)
    (mistake,) = test["mistakes"]
    assert mistake | {"confidence": 0} == {
        "line": 5, "text": "a keeper burns", "text_pair": "", "true": "loud", "predicted": "calm",
        "confidence": 0,
    }  # fmt: skip
    assert 0.5 < mistake["confidence"] <= 1

    with zipfile.ZipFile(tmp_path / "out" / "adapter.zip") as zipped:
        assert set(zipped.namelist()) == FILES | {"confusion.png"}
        readme = zipped.read("README.md").decode()
        assert json.loads(zipped.read("metrics.json")) == metrics
    assert "accuracy 75.0%, F1 80.0% (of “loud”), macro F1 73.3%" in readme
    assert "nats per row" in readme
    settings = adapter_files.read(tmp_path / "out" / "adapter.zip").settings
    assert (settings.task, settings.labels) == ("classification", ("calm", "loud"))


def test_numbers_written_differently_are_one_class_in_training_and_test(
    run: Callable[..., TrainResult], tmp_path: Path
) -> None:
    written = {"calm": ("0", "0.0"), "loud": ("1", "1.0")}
    rows = [
        row | {"grade": written[row["label"]][number // 2 % 2]}
        for number, row in enumerate(rows_of())
    ]
    data = write(tmp_path / "grades.csv", rows)
    test_rows = [{"text": f"a {thing} burns", "grade": "1.0"} for thing in THINGS]
    test_file = write(tmp_path / "test.csv", [*test_rows, {"text": "a sea", "grade": "01"}])
    roles = {"text": "text", "label": "grade"}
    config = {"dataset": str(data), "test_dataset": str(test_file), "roles": roles, "epochs": 1}
    metrics = run(**config).metrics
    assert metrics["label_counts"] == {"0": 12, "1": 12}
    assert metrics["test"]["rows"] == len(THINGS), "a code is no number"


def test_the_readme_loads_the_adapter_with_peft_and_gives_our_answers(
    run: Callable[..., TrainResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    code = re.findall(
        r"```python\n(.*?)```", (tmp_path / "out/adapter/README.md").read_text(), re.S
    )
    monkeypatch.chdir(tmp_path / "out")
    said = io.StringIO()
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(said):
        exec(code[0].replace('"a text"', '"the boat burns"'), names)
    assert said.getvalue().strip() == "loud"
    answers = compare(Path("adapter.zip"), "the boat burns", Decoding(), home=tmp_path / "home")
    with torch.no_grad():
        theirs = names["model"](**names["inputs"]).logits.softmax(-1)[0].tolist()
    assert list(answers["adapted"].values()) == pytest.approx(theirs, abs=1e-5)


def test_pairs_and_many_numbered_labels(run: Callable[..., TrainResult], tmp_path: Path) -> None:
    rows = [
        {
            "Quality": str(n % 3),
            "#1 String": f"the {THINGS[n % 3]} {doing}",
            "#2 String": f"now {n}",
        }
        for n, doing in enumerate(DOINGS * 4)
    ]
    data = write(tmp_path / "pairs.csv", rows)
    metrics = run(dataset=str(data)).metrics
    assert metrics["labels"] == ["0", "1", "2"]
    assert metrics["validation"]["f1"] is None
    assert metrics["validation"]["accuracy"] > 0.6
    assert metrics["loss_last"] < metrics["loss_first"] - 0.5
    answers = compare(
        tmp_path / "out" / "adapter", "the boat is calm\tnow 2", Decoding(), home=tmp_path
    )
    assert max(answers["adapted"], key=answers["adapted"].__getitem__) == "2"


def test_class_weights_are_torchs_weighted_loss(run: Callable[..., TrainResult]) -> None:
    model = tiny.bert()
    generator = torch.Generator().manual_seed(0)
    examples = [
        {
            "input_ids": torch.randint(4, 300, (length,), generator=generator).tolist(),
            "labels": [length % 2],
        }
        for length in (5, 9, 4, 7, 3)
    ]
    weights = (0.6, 2.5)
    path = PaddedClasses(model, 0, 2, weights)
    batches = list(path.batches(examples))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert [len(row["input_ids"]) for batch in batches for row in batch] == [3, 4, 5, 7, 9]
    with torch.no_grad():
        found = sum(path.loss_sum(batch) for batch in batches) / path.learned(examples)
        logits = torch.cat([path.logits([example]) for example in examples])
        labels = torch.tensor([example["labels"][0] for example in examples])
        expected = F.cross_entropy(logits, labels, weight=torch.tensor(weights))
    torch.testing.assert_close(found, expected)
    metrics = run(class_weights=True, max_steps=1).metrics
    assert metrics["class_weights"] == {"calm": 1.0, "loud": 1.0}


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_decoder_learns_to_classify(
    family: str, run: Callable[..., TrainResult], tmp_path: Path
) -> None:
    """Its head reads the last real token, however long the other rows are."""
    model = {"llama": tiny.llama, "gpt2": tiny.gpt2}[family]()
    place = tiny.save_model_folder(tmp_path / family, model)
    result = run(base_model=str(place), epochs=6)
    metrics = result.metrics
    assert metrics["loss_last"] < metrics["loss_first"] - 0.3
    folder = tmp_path / "out" / "adapter"
    base = AutoModelForSequenceClassification.from_pretrained(place, num_labels=2, pad_token_id=1)
    theirs = peft.PeftModel.from_pretrained(base, folder).eval()
    adapter = adapter_files.read(folder)
    head = head_of(adapter, place)
    judge = Judge(place, head, CPU)
    texts = ["the sea burns", "what is the light that the keeper asks for now", "a boat"]
    together = judge.probabilities([Question(text, adapter=adapter) for text in texts])
    tokenizer = AutoTokenizer.from_pretrained(place)
    for text, found in zip(texts, together, strict=True):
        with torch.no_grad():
            expected = theirs(**tokenizer(text, return_tensors="pt")).logits.softmax(-1)[0]
        assert found == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"lora": {"method": "freeze", "freeze_trainable_layers": 1}, "learning_rate": 0.01},
        {"lora": {"use_dora": True, "bias": "lora_only"}, "learning_rate": 0.1},
        {"quantization": "nf4"},
        {"label_smoothing": 0.1, "neftune_noise_alpha": 1, "gradient_checkpointing": True},
    ],
    ids=["freeze", "dora", "nf4", "extras"],
)
def test_methods_train_a_head_as_well(
    run: Callable[..., TrainResult], tmp_path: Path, changes: dict[str, Any]
) -> None:
    metrics = run(**changes).metrics
    assert metrics["eval_loss_after"] < metrics["eval_loss_before"] - 0.1
    answers = compare(tmp_path / "out" / "adapter.zip", "the sea", Decoding(), home=tmp_path)
    assert answers["adapted"]["loud"] > answers["base"]["loud"]


def test_resumed_ends_where_an_uninterrupted_run_ends(
    run: Callable[..., TrainResult], tmp_path: Path
) -> None:
    run("whole", epochs=3)
    assert run("parts", stop_at=5, epochs=3).stopped
    run("parts", epochs=3, resume=True)
    whole, parts = (
        adapter_files.read(tmp_path / name / "adapter").tensors for name in ("whole", "parts")
    )
    assert whole.keys() == parts.keys()
    assert "classifier.weight" in whole
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_rows_that_are_cut_are_counted(run: Callable[..., TrainResult], tmp_path: Path) -> None:
    rows = [row | {"text": row["text"] + " now" * 60} for row in rows_of()[:4]] + rows_of()[4:]
    metrics = run(dataset=str(write(tmp_path / "long.csv", rows)), max_steps=1).metrics
    assert metrics["rows_cut"] == 4
    assert metrics["rows"] == 24


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"dataset": "one"}, DataError, "Every row has the label “calm”"),
        ({"test_dataset": "questions"}, DataError, "has no columns for text, label"),
        ({"test_dataset": "strange"}, DataError, "The test data “strange.csv” cannot be used"),
        ({"dataset": "questions"}, SettingsError, "reads texts and cannot write, but the data"),
        ({"task": "chat"}, SettingsError, "The task chat needs columns for a question"),
        ({"test_dataset": "/nowhere.csv"}, DataError, "no data set and no file"),
    ],
)
def test_bad_input_is_one_sentence(
    run: Callable[..., TrainResult],
    tmp_path: Path,
    changes: dict[str, str],
    error: type[WorkbenchError],
    said: str,
) -> None:
    files = {
        "one": [row | {"label": "calm"} for row in rows_of()],
        "strange": [row | {"label": "odd"} for row in rows_of()],
        "questions": [{"prompt": "what", "completion": "that"}],
    }
    for name, rows in files.items():
        write(tmp_path / f"{name}.csv", rows)
    paths = {key: str(tmp_path / f"{v}.csv") if v in files else v for key, v in changes.items()}
    with pytest.raises(error, match=said) as raised:
        run(**paths)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("wanted", "data", "model", "task"),
    [
        ("auto", "chat", "chat", "chat"),
        ("auto", "text", "chat", "text"),
        ("auto", "chat", "seq2seq", "seq2seq"),
        ("auto", "classification", "classification", "classification"),
        ("auto", "classification", "chat", "classification"),
        ("text", "classification", "chat", "text"),
        ("auto", "text", "classification", "cannot write"),
        ("auto", "text", "seq2seq", "rewrites one text"),
        ("seq2seq", "chat", "chat", "choose an encoder-decoder"),
        ("classification", "chat", "classification", "needs columns for a text and a label"),
    ],
)
def test_the_task_follows_data_and_model(wanted: Any, data: str, model: str, task: str) -> None:
    if " " not in task:
        assert choose_task(wanted, data, model) == task
        return
    with pytest.raises(SettingsError, match=task):
        choose_task(wanted, data, model)
