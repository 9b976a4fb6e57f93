"""Trained classifiers judge texts: beside their base, beside each other, on bases of all kinds."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from lora_engine import adapter as adapter_files
from lora_engine.batches import Example
from lora_engine.classify import Head, Judge, Question, head_of
from lora_engine.compare import compare
from lora_engine.errors import ModelError
from lora_engine.generate import Decoding
from lora_engine.inspection import build_profile
from lora_engine.model import load_base
from lora_engine.serve import Service
from lora_engine.train import TrainResult
from tests import tiny
from tests.engine.adapters import make

CPU = torch.device("cpu")


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


def test_texts_of_one_length_are_judged_together_as_each_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also beside other adapters, and one whose weights were trained in place."""
    plain, whole = (
        adapter_files.read(make(tmp_path / name, tiny.bert(), str(folder), **settings))
        for name, settings in (("a", {"target_modules": ["query"]}), ("b", {"method": "full"}))
    )
    judge = Judge(folder, Head(("calm", "loud"), seed=0), CPU)
    texts = ("the sea", "a boat", "the light is calm", "the sea burns now")
    questions = [
        Question(text, "home" if text == "a boat" else "", adapter, strength)
        for text in texts
        for adapter, strength in ((plain, 1.0), (None, 1.0), (whole, 1.0), (plain, 0.5))
    ]
    alone = [judge.probabilities([each])[0] for each in questions]
    sizes: list[int] = []
    logits = judge._path.logits

    def counted(examples: list[Example]) -> torch.Tensor:
        sizes.append(len(examples))
        return logits(examples)

    monkeypatch.setattr(judge._path, "logits", counted)
    together = judge.probabilities(questions)
    for found, expected in zip(together, alone, strict=True):
        assert found == pytest.approx(expected, abs=1e-5)
    assert len({tuple(each) for each in together}) > len(texts)
    assert max(sizes) > 3 and len(sizes) < len(questions)


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
