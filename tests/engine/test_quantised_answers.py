"""An adapter is tried and measured on the base that it was trained on, in as few bits."""

import io
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lora_engine import adapter as adapter_files
from lora_engine import extras
from lora_engine.__main__ import main
from lora_engine.base_form import base_form
from lora_engine.classify import Head, Judge, Question
from lora_engine.combine import combine
from lora_engine.compare import compare
from lora_engine.config import TrainConfig
from lora_engine.errors import AdapterError, SettingsError
from lora_engine.fast import onednn, packed_weights
from lora_engine.fast.onednn import quicken
from lora_engine.fast.packed_weights import pack
from lora_engine.generate import Decoding, Row, Speaker
from lora_engine.model import load_base, load_tokenizer
from lora_engine.serve import Service
from lora_engine.train import train
from tests import tiny
from tests.engine.adapters import make

pytest.importorskip("bitsandbytes")
CPU = torch.device("cpu")
PROMPT = "what is the sea"
SHORT = Decoding(max_new_tokens=12)
LAYERS = {"none": "Linear", "nf4": "Linear4bit", "int8": "Linear8bitLt"}


def trained_on(kind: str, folder: Path, model_folder: Path, seed: int = 1, **lora: Any) -> Path:
    """An adapter whose settings say in how many bits its base was held."""
    path = make(folder, tiny.llama(), str(model_folder), seed=seed, size=0.3, **lora)
    said = {"base_model": str(model_folder), "quantization": kind, "lora": {"method": "lora"}}
    (path / "train_config.json").write_text(json.dumps(said))
    return path


def by_hand(kind: Any, model_folder: Path, path: Path) -> dict[str, Any]:
    """What ``compare`` ought to give, from a base that is loaded here."""
    speaker = Speaker(
        load_base(model_folder, CPU, torch.float32, kind), load_tokenizer(model_folder)
    )
    ids = speaker.prompt_ids([{"role": "user", "content": PROMPT}])
    rows = [Row(ids), Row(ids, adapter_files.read(path))]
    answers = speaker.answer(rows, SHORT)
    return {
        "base": answers.texts[0],
        "adapted": answers.texts[1],
        "divergence": speaker.divergence(rows[1], answers.token_ids[1]),
        "quantization": kind,
    }


def kinds_of(model: nn.Module) -> set[str]:
    layers = (type(module).__name__ for module in model.modules())
    return {name for name in layers if "Linear" in name}


@pytest.mark.parametrize("kind", ["none", "nf4", "int8"])
def test_both_answers_come_from_the_base_as_it_was_trained_on(
    kind: str, model_folder: Path, home: Path, tmp_path: Path
) -> None:
    path = trained_on(kind, tmp_path / "a", model_folder)
    expected = {each: by_hand(each, model_folder, path) for each in LAYERS}
    found = compare(path, PROMPT, SHORT, home=home, device="cpu")
    assert found == expected[kind] | {"divergence": pytest.approx(expected[kind]["divergence"])}
    others = [expected[each]["divergence"] for each in LAYERS if each != kind]
    assert found["divergence"] not in [pytest.approx(other, rel=1e-4) for other in others]
    for asked in ("none", "nf4"):
        chosen = compare(path, PROMPT, SHORT, home=home, device="cpu", quantization=asked)
        assert chosen["divergence"] == pytest.approx(expected[asked]["divergence"])
        assert chosen["quantization"] == asked


def test_the_command_line_chooses(
    model_folder: Path, home: Path, tmp_path: Path, capsys: Any
) -> None:
    paths = {kind: trained_on(kind, tmp_path / kind, model_folder) for kind in ("none", "nf4")}
    for kind, flags, held in (
        ("nf4", [], "nf4"),
        ("nf4", ["--no-4bit"], "none"),
        ("none", [], "none"),
        ("none", ["--use-4bit"], "nf4"),
    ):
        command = ["compare", "--adapter", str(paths[kind]), "--prompt", PROMPT, *flags]
        command += ["--max-new-tokens", "12", "--device", "cpu", "--data-dir", str(home)]
        assert main([*command, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        expected = by_hand(held, model_folder, paths[kind])
        assert found["quantization"] == held
        assert found["divergence"] == pytest.approx(expected["divergence"])
        assert main(command) == 0
        title = "base, in 4 bits (NF4):" if held == "nf4" else "base:"
        assert capsys.readouterr().out.startswith(f"{title}\n")
    with pytest.raises(SystemExit):
        main([*command, "--use-4bit", "--no-4bit"])


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"method": "full"}, "Method full"),
        ({"method": "freeze", "freeze_trainable_layers": 1}, "Method freeze"),
    ],
)
def test_what_needs_whole_weights_is_not_put_on_few_bits(
    settings: dict[str, Any], name: str, model_folder: Path, home: Path, tmp_path: Path
) -> None:
    path = make(tmp_path / "a", tiny.llama(), str(model_folder), **settings)
    with pytest.raises(SettingsError, match=f"{name} needs weights that are not quantised"):
        compare(path, PROMPT, SHORT, home=home, device="cpu", quantization="nf4")


def test_a_module_in_few_bits_is_not_replaced_whole(
    model_folder: Path, home: Path, tmp_path: Path
) -> None:
    for number, saved in enumerate(("up_proj", "mlp")):
        path = make(
            tmp_path / str(number), tiny.llama(), str(model_folder), modules_to_save=[saved]
        )
        with pytest.raises(AdapterError, match=f"{saved} is held in few bits and cannot be saved"):
            compare(path, PROMPT, SHORT, home=home, device="cpu", quantization="nf4")
    path = trained_on("nf4", tmp_path / "words", model_folder, modules_to_save=["embed_tokens"])
    assert compare(path, PROMPT, SHORT, home=home, device="cpu")["divergence"] > 0.01


class Asked:
    """The generation child's part that answers, with what it said."""

    def __init__(self, home: Path) -> None:
        self.said = io.StringIO()
        self.service = Service(home, self.said, "cpu")
        self.count = 0

    def __call__(self, op: str, base_model: Path, *rows: dict[str, Any]) -> list[dict[str, Any]]:
        """The events of one request."""
        self.count += 1
        place = self.said.tell()
        request = {"op": op, "base_model": str(base_model), "rows": rows, "divergence": True}
        self.service.handle({"id": self.count, **request, "options": {"max_new_tokens": 12}})
        return [json.loads(line) for line in self.said.getvalue()[place:].splitlines()]

    @property
    def held(self) -> set[str]:
        """The kinds of linear layers of the model that is kept."""
        assert self.service._loaded is not None
        kept: Any = self.service._loaded[1]
        return kinds_of(kept.model if isinstance(kept, Speaker) else kept._model)


@pytest.fixture
def asked(home: Path) -> Asked:
    return Asked(home)


def turn(path: Path | None) -> dict[str, Any]:
    messages = [{"role": "user", "content": PROMPT}]
    return {"adapter": path and str(path), "messages": messages}


def test_the_playground_holds_the_base_as_the_adapters_did(
    asked: Asked, model_folder: Path, tmp_path: Path
) -> None:
    paths = {kind: trained_on(kind, tmp_path / kind, model_folder) for kind in LAYERS}
    for kind, path in paths.items():
        events = asked("answer", model_folder, turn(None), turn(path))
        assert [e["event"] for e in events].count("status") == 1, "another base than the last"
        expected = by_hand(kind, model_folder, path)
        assert events[-1]["texts"] == [expected["base"], expected["adapted"]]
        assert events[-1]["divergence"] == pytest.approx(expected["divergence"])
        assert LAYERS[kind] in asked.held
        other = trained_on(kind, tmp_path / f"other {kind}", model_folder, seed=2)
        again = asked("answer", model_folder, turn(None), turn(path), turn(other))
        assert "status" not in [event["event"] for event in again], "the same base as before"
        assert again[-1]["texts"][:2] == events[-1]["texts"]
    asked("answer", model_folder, turn(None))
    assert asked.held == {"Linear"}


def test_adapters_of_different_forms_are_not_compared(
    asked: Asked, model_folder: Path, tmp_path: Path
) -> None:
    paths = [trained_on(kind, tmp_path / kind, model_folder) for kind in ("nf4", "none")]
    (event,) = asked("answer", model_folder, turn(None), *map(turn, paths))
    assert event["event"] == "error"
    assert event["message"] == (
        "These adapters were trained on different forms of the base, 4 bits (NF4) and not "
        "quantised, and each answers as trained only on its own: compare those of one form."
    )
    later = trained_on("q2", tmp_path / "later", model_folder)
    (event,) = asked("answer", model_folder, turn(later))
    assert "quantised as 'q2', which is unknown here" in event["message"]
    assert base_form([]) == "none"


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_classifiers_judge_from_the_base_as_it_was_trained_on(
    kind: Any, asked: Asked, tmp_path: Path
) -> None:
    folder = tiny.save_model_folder(tmp_path / "bert", tiny.bert(), tiny.pair_tokenizer())
    path = make(tmp_path / "a", tiny.bert(), str(folder), size=0.3, target_modules=["query"])
    (path / "train_config.json").write_text(json.dumps({"quantization": kind, "seed": 3}))
    about = {"task": "classification", "labels": ["sea", "land"]}
    (path / "task.json").write_text(json.dumps(about))
    question = {"text": "the boat comes home"}
    rows = ({"adapter": None, **question}, {"adapter": str(path), **question})
    events = asked("classify", folder, *rows)
    assert LAYERS[kind] in asked.held
    adapter = adapter_files.read(path)
    questions = [Question(question["text"]), Question(question["text"], adapter=adapter)]
    head = Head(("sea", "land"), seed=3)
    expected = Judge(folder, head, CPU, kind).probabilities(questions)
    whole = Judge(folder, head, CPU).probabilities(questions)
    for found, own, other in zip(events[-1]["probabilities"], expected, whole, strict=True):
        assert found == pytest.approx(own)
        assert found != pytest.approx(other, rel=1e-6)
    found = compare(path, question["text"], SHORT, home=tmp_path, device="cpu")
    assert list(found["adapted"].values()) == pytest.approx(expected[1])
    copy = Path(shutil.copytree(path, tmp_path / "copy"))
    (copy / "train_config.json").write_text(json.dumps({"quantization": "none", "seed": 3}))
    events = asked("classify", folder, rows[0], rows[1] | {"adapter": str(copy)})
    assert events[-1]["probabilities"] == [pytest.approx(each) for each in whole]


def test_a_rewriter_answers_from_few_bits(tmp_path: Path) -> None:
    folder = tiny.save_model_folder(tmp_path / "t5", tiny.t5())
    speaker = Speaker.load(folder, CPU, "nf4")
    assert "Linear4bit" in kinds_of(speaker.model)
    path = make(tmp_path / "a", tiny.t5(), str(folder), size=0.3, target_modules=["q", "v"])
    rows = [Row([5, 9, 200]), Row([5, 9, 200], adapter_files.read(path))]
    base, adapted = speaker.answer(rows, Decoding(max_new_tokens=8)).token_ids
    assert base != adapted


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_the_measured_loss_is_of_the_base_that_was_trained_on(
    kind: str, model_folder: Path, data_file: Path, home: Path, tmp_path: Path, capsys: Any
) -> None:
    settings = {"base_model": str(model_folder), "dataset": str(data_file), "max_steps": 5}
    settings |= {"learning_rate": 0.05, "precision": "fp32", "validation_share": 0.3}
    config = TrainConfig.parse({**settings, "quantization": kind})
    result = train(config, tmp_path, lambda _: None, lambda: False, home=home, device="cpu")
    command = ["shrink", "--adapter", str(tmp_path / "adapter"), "--data-dir", str(home)]
    command += ["--device", "cpu", "--json", "--r", "1", "--out", str(tmp_path / "one")]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["eval_loss_before"] == pytest.approx(result.metrics["eval_loss_after"], rel=1e-5)
    said = {"nf4": "4 bits (NF4)", "int8": "8 bits"}[kind]
    assert f"the base was held in {said}" in (tmp_path / "adapter" / "README.md").read_text()
    assert adapter_files.read(tmp_path / "one").settings.quantization == kind


def test_without_its_package_a_base_in_few_bits_is_one_sentence(
    asked: Asked,
    model_folder: Path,
    data_file: Path,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    path = trained_on("nf4", tmp_path / "a", model_folder)
    command = ["compare", "--adapter", str(path), "--prompt", PROMPT, "--data-dir", str(home)]
    command += ["--max-new-tokens", "2"]
    config = TrainConfig(base_model=str(model_folder), dataset=str(data_file), quantization="nf4")
    (path / "train_config.json").write_text(json.dumps(config.to_json()))
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    needs = "A base in 4 bits (NF4) needs the package bitsandbytes: in the project's folder run "
    needs += f"`{extras.install_command()}`"
    assert main(command) == 1
    assert capsys.readouterr().err == f"{needs}, or hold the base whole with --no-4bit.\n"
    assert main([*command, "--no-4bit"]) == 0
    capsys.readouterr()
    event = asked("answer", model_folder, turn(None), turn(path))[-1]
    assert event["message"] == f"{needs}."
    shrink = ["shrink", "--adapter", str(path), "--r", "1", "--out", str(tmp_path / "b"), "--json"]
    assert main([*shrink, "--data-dir", str(home)]) == 0
    assert json.loads(capsys.readouterr().out)["note"] == f"Not measured: {needs}."


def test_the_command_installs_for_the_python_that_runs_this(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install = "-m pip install -c constraints.txt bitsandbytes"
    for python, shown in (
        (extras.ROOT / ".venv" / "bin" / "python", str(Path(".venv/bin/python"))),
        (Path("/else where/python"), '"/else where/python"'),
    ):
        monkeypatch.setattr(extras.sys, "executable", str(python))
        assert extras.install_command() == f"{shown} {install}"


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_packed_weights_leave_quantised_layers_alone(
    kind: Any, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch has no oneDNN")
    for module in (packed_weights, onednn):
        monkeypatch.setattr(module, "helps", lambda: True)
    model: Any = load_base(model_folder, CPU, torch.float32, kind)
    ids = torch.arange(8)[None]
    with torch.inference_mode():
        expected = model(input_ids=ids).logits
        assert quicken(model) == pack(model) == 3  # the head, and two layers too narrow for blocks
        found = model(input_ids=ids).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_8_bits_do_not_fill_the_log(
    model_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """bitsandbytes tells at every product that its inputs are cast."""
    path = trained_on("int8", tmp_path / "a", model_folder)
    with caplog.at_level(logging.WARNING):
        compare(path, PROMPT, SHORT, home=tmp_path, device="cpu")
    assert [record for record in caplog.records if "bitsandbytes" in record.name] == []


def test_a_sum_is_for_the_base_that_its_parts_share(model_folder: Path, tmp_path: Path) -> None:
    one, two = (trained_on("nf4", tmp_path / str(n), model_folder, seed=n) for n in (1, 2))
    other = trained_on("none", tmp_path / "3", model_folder, seed=3)
    assert combine([one, two], [0.5, 0.5], tmp_path / "alike").notes == ()
    assert adapter_files.read(tmp_path / "alike").settings.quantization == "nf4"
    (note,) = combine([one, other], [0.5, 0.5], tmp_path / "mixed").notes
    assert note.startswith("Not all were trained on the base in the same bits")
    assert adapter_files.read(tmp_path / "mixed").settings.quantization == "none"
