"""Classifiers from a table to a zip, with tiny real models: learned, measured, read elsewhere."""

import contextlib
import csv
import io
import itertools
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from lora_engine import adapter as adapter_files
from lora_engine.class_loss import PaddedClasses
from lora_engine.classify import Head, Judge, Question, head_of
from lora_engine.compare import compare
from lora_engine.config import TrainConfig
from lora_engine.errors import DataError, ModelError, SettingsError, WorkbenchError
from lora_engine.generate import Decoding
from lora_engine.inspection import build_profile
from lora_engine.model import load_base
from lora_engine.serve import Service
from lora_engine.tasks.choice import choose_task
from lora_engine.train import TrainResult, train
from tests import tiny
from tests.engine.test_train import FILES

CPU = torch.device("cpu")
THINGS = ("sea", "light", "boat", "keeper")
DOINGS = ("is calm", "burns", "asks what", "comes home", "is home now", "burns now")
Rows = list[dict[str, str]]


def rows_of(labels: tuple[str, str] = ("calm", "loud")) -> Rows:
    """Texts whose label is whether they speak of the sea or a boat."""
    texts = [f"the {thing} {doing}" for thing, doing in itertools.product(THINGS, DOINGS)]
    return [
        {"text": text, "label": labels["sea" in text or "boat" in text], "note": "x"}
        for text in texts
    ]


def write(path: Path, rows: Rows) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT without a head, as it comes from pretraining."""
    place = tmp_path_factory.mktemp("model") / "tiny-bert"
    tiny.save_model_folder(place, tiny.bert().base_model, tiny.pair_tokenizer())
    return place


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Callable[..., TrainResult]:
    data = write(tmp_path / "rows.csv", rows_of())

    def start(name: str = "out", stop_at: int | None = None, **changes: Any) -> TrainResult:
        settings = {
            "base_model": str(folder), "dataset": str(data), "epochs": 12, "batch_size": 4,
            "learning_rate": 0.02, "max_length": 32, "precision": "fp32", "validation_share": 0.25,
        }  # fmt: skip
        resume = changes.pop("resume", False)
        steps: list[int] = [0]
        return train(
            TrainConfig.parse(settings | changes), tmp_path / name,
            lambda progress: steps.append(progress.step),
            lambda: stop_at is not None and steps[-1] >= stop_at,
            home=tmp_path / "home", device="cpu", resume=resume, checkpoint_seconds=0,
        )  # fmt: skip

    return start


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
        assert set(zipped.namelist()) == FILES | {"task.json", "confusion.png"}
        readme = zipped.read("README.md").decode()
        assert json.loads(zipped.read("metrics.json")) == metrics
    assert "accuracy 75.0%, F1 80.0% (of “loud”), macro F1 73.3%" in readme
    assert "nats per row" in readme
    settings = adapter_files.read(tmp_path / "out" / "adapter.zip").settings
    assert (settings.task, settings.labels) == ("classification", ("calm", "loud"))


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


def test_the_base_is_the_same_untrained_head_each_time(
    run: Callable[..., TrainResult], folder: Path, tmp_path: Path
) -> None:
    run()
    zipped = tmp_path / "out" / "adapter.zip"
    first = compare(zipped, "the sea burns", Decoding(), home=tmp_path)
    assert compare(zipped, "the sea burns", Decoding(), home=tmp_path) == first
    assert sum(first["base"].values()) == pytest.approx(1)
    assert first["adapted"]["loud"] > 0.7 > first["base"]["loud"]
    off = compare(zipped, "the sea burns", Decoding(), home=tmp_path, strength=0.0)
    assert off["adapted"] == pytest.approx(first["base"], abs=1e-6)
    adapter = adapter_files.read(zipped)
    head = head_of(adapter, folder)
    assert head == Head(("calm", "loud"), seed=42)
    other = Judge(folder, Head(head.labels, seed=43), CPU)
    base = other.probabilities([Question("the sea burns")])[0]
    assert base != pytest.approx(list(first["base"].values()), abs=1e-4)


def test_an_adapter_of_the_reference_is_judged_with_numbered_labels(
    folder: Path, tmp_path: Path
) -> None:
    base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3)
    config = peft.LoraConfig(task_type="SEQ_CLS", target_modules=["query"], r=4)
    theirs = peft.get_peft_model(base, config)
    theirs.save_pretrained(tmp_path / "theirs")
    adapter = adapter_files.read(tmp_path / "theirs")
    head = head_of(adapter, folder)
    assert head.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    question = Question("the sea", "is calm", adapter)
    found = Judge(folder, head, CPU).probabilities([question])[0]
    inputs = AutoTokenizer.from_pretrained(folder)("the sea", "is calm", return_tensors="pt")
    with torch.no_grad():
        expected = theirs.eval()(**inputs).logits.softmax(-1)[0].tolist()
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_part_that_the_files_do_not_have_is_trained_and_saved(
    run: Callable[..., TrainResult], folder: Path, tmp_path: Path
) -> None:
    """BERT's pooler, where the model was saved as one that fills in masks."""
    bare = without_pooler(folder, tmp_path / "bare")
    assert build_profile(folder, "x", "classification").always_saved == ("classifier",)
    assert build_profile(bare, "x", "classification").always_saved == ("classifier", "pooler")
    run(base_model=str(bare))
    adapter = tmp_path / "out" / "adapter"
    found = compare(adapter, "the sea burns", Decoding(), home=tmp_path)["adapted"]
    torch.manual_seed(7)  # the reference draws another pooler, and then takes ours
    base = AutoModelForSequenceClassification.from_pretrained(bare, num_labels=2)
    theirs = peft.PeftModel.from_pretrained(base, adapter)
    inputs = AutoTokenizer.from_pretrained(bare)("the sea burns", return_tensors="pt")
    with torch.no_grad():
        expected = theirs.eval()(**inputs).logits.softmax(-1)[0].tolist()
    assert list(found.values()) == pytest.approx(expected, abs=1e-5)


def test_whole_layers_with_a_part_that_the_files_do_not_have_are_used_again(
    run: Callable[..., TrainResult], folder: Path, tmp_path: Path
) -> None:
    bare = without_pooler(folder, tmp_path / "bare")
    freeze = {"method": "freeze", "freeze_trainable_layers": 1}
    run(base_model=str(bare), lora=freeze, epochs=2)
    adapter = tmp_path / "out" / "adapter"
    assert any("pooler" in name for name in adapter_files.read(adapter).tensors)
    found = compare(adapter, "the sea burns", Decoding(), home=tmp_path)
    assert found["adapted"] != pytest.approx(found["base"], abs=1e-4)


def without_pooler(folder: Path, bare: Path) -> Path:
    """A BERT as it is saved by a model that fills in masks."""
    shutil.copytree(folder, bare)
    tensors = load_file(bare / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if "pooler" not in name}
    assert len(kept) == len(tensors) - 2
    save_file(kept, bare / "model.safetensors", metadata={"format": "pt"})
    return bare


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


def asked(service: Service, out: io.StringIO, **request: Any) -> dict[str, Any]:
    service.handle({"id": 1, **request})
    last: dict[str, Any] = json.loads(out.getvalue().splitlines()[-1])
    return last


def test_the_generation_child_classifies(
    run: Callable[..., TrainResult], folder: Path, tmp_path: Path
) -> None:
    run()
    out = io.StringIO()
    service = Service(tmp_path / "home", out, "cpu")
    zipped = str(tmp_path / "out" / "adapter.zip")
    rows = [
        {"adapter": None, "text": "the sea burns"},
        {"adapter": zipped, "strength": 1.0, "text": "the sea burns", "text_pair": ""},
        {"adapter": zipped, "text": "a\tb"},
        {"adapter": zipped, "text": "a", "text_pair": "b"},
    ]
    request = {"op": "classify", "base_model": str(folder), "rows": rows}
    done = asked(service, out, **request)
    assert (done["event"], done["labels"]) == ("done", ["calm", "loud"])
    base, adapted, tabbed, paired = done["probabilities"]
    expected = compare(Path(zipped), "the sea burns", Decoding(), home=tmp_path / "home")
    assert adapted == pytest.approx(list(expected["adapted"].values()), abs=1e-5)
    assert base == pytest.approx(list(expected["base"].values()), abs=1e-5)
    assert tabbed == pytest.approx(paired, abs=1e-6)
    assert out.getvalue().count("Loading the model") == 1
    asked(service, out, **request)
    assert out.getvalue().count("Loading the model") == 1

    alone = asked(service, out, **request | {"rows": rows[:1]})
    assert "knows no labels yet" in alone["message"]
    wrong = asked(service, out, **request | {"op": "dance"})
    assert wrong["event"] == "error"


def test_several_classifiers_judge_side_by_side(
    run: Callable[..., TrainResult], folder: Path, tmp_path: Path
) -> None:
    """Each has a head of its own, and none of them asks for the switch again."""
    run("one", epochs=2)
    run("two", epochs=4)
    out = io.StringIO()
    service = Service(tmp_path / "home", out, "cpu")
    zips = [str(tmp_path / name / "adapter.zip") for name in ("one", "two")]
    asked_of = [{"adapter": zipped, "text": "the sea burns"} for zipped in zips]
    request = {"op": "classify", "base_model": str(folder)}
    together = asked(service, out, **request, rows=[{"adapter": None, **asked_of[0]}, *asked_of])
    assert together["event"] == "done"
    for row, zipped in zip(together["probabilities"][1:], zips, strict=True):
        alone = compare(Path(zipped), "the sea burns", Decoding(), home=tmp_path / "home")
        assert row == pytest.approx(list(alone["adapted"].values()), abs=1e-5)


def test_a_model_that_brings_a_head_keeps_it(tmp_path: Path) -> None:
    model = tiny.bert(id2label={0: "down", 1: "up"}, label2id={"down": 0, "up": 1})
    place = tiny.save_model_folder(tmp_path / "model", model, tiny.pair_tokenizer())
    out = io.StringIO()
    rows = [{"adapter": None, "text": "the sea"}]
    done = asked(
        Service(tmp_path, out, "cpu"), out, op="classify", base_model=str(place), rows=rows
    )
    assert done["labels"] == ["down", "up"]
    inputs = AutoTokenizer.from_pretrained(place)("the sea", return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs).logits.softmax(-1)[0].tolist()
    assert done["probabilities"][0] == pytest.approx(expected, abs=1e-5)


def test_a_classifier_cannot_write_answers(folder: Path, tmp_path: Path) -> None:
    out = io.StringIO()
    messages = [{"role": "user", "content": "Hi"}]
    rows = [{"adapter": None, "messages": messages}]
    said = asked(Service(tmp_path, out, "cpu"), out, op="answer", base_model=str(folder), rows=rows)
    assert said["event"] == "error"
    assert "cannot write answers" in said["message"]
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_base(tmp_path, CPU, torch.float32)
