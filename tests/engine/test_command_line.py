"""The command line: train, inspect, compare, export; bad input is one sentence and status 1."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from lora_engine.__main__ import GROUPS, main
from lora_engine.commands.common import Parsers
from lora_engine.commands.compare import as_text
from lora_engine.config import TrainConfig
from lora_engine.lora.inject import adapted
from lora_engine.progress import Progress
from tests import tiny
from tests.engine.adapters import make
from tests.parity import test_families as families


@pytest.fixture
def trained(model_folder: Path, data_file: Path, home: Path, tmp_path: Path, capsys: Any) -> Path:
    """An adapter made by ``train``, whose standard output is checked on the way."""
    config = tmp_path / "config.json"
    settings = {"base_model": str(model_folder), "dataset": str(data_file), "max_steps": 6}
    settings |= {"learning_rate": 0.05, "batch_size": 4, "precision": "fp32"}
    config.write_text(json.dumps(settings))
    out = tmp_path / "out"
    command = ["train", str(config), "--out", str(out), "--data-dir", str(home)]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert main(command) == 1
    assert "has an adapter already" in capsys.readouterr().err
    progress = [Progress.model_validate_json(line) for line in lines]
    assert progress[-1].step == progress[-1].total_steps == 6
    return out


def test_inspect(model_folder: Path, home: Path, capsys: Any) -> None:
    command = ["inspect", "--model", str(model_folder), "--data-dir", str(home), "--r", "4"]
    assert main([*command, "--target-modules", "q_proj", "v_proj", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trainable"] == 2 * 4 * (64 + 64) + 2 * 4 * (64 + 32)
    assert {m["name"]: m["count"] for m in found["by_module"]}["down_proj"] == 2
    assert main(command) == 0
    table = capsys.readouterr().out
    assert "trainable params: 1,792" in table
    assert "gate_proj" in table


def test_inspect_every_linear_layer(model_folder: Path, home: Path, capsys: Any) -> None:
    command = ["inspect", "--model", str(model_folder), "--data-dir", str(home), "--json"]
    assert main([*command, "--target-modules", "all-linear"]) == 0
    found = json.loads(capsys.readouterr().out)
    chosen = {m["name"] for m in found["by_module"] if m["trainable"]}
    assert chosen >= {"q_proj", "o_proj", "gate_proj", "down_proj"}


def test_an_adapter_of_a_model_beside_the_settings_is_used_from_elsewhere(
    trained: Path, model_folder: Path, home: Path, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    settings = trained / "adapter" / "train_config.json"
    values = json.loads(settings.read_text())
    settings.write_text(json.dumps(values | {"base_model": model_folder.name}))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    command = ["check", "--adapter", str(trained / "adapter"), "--data-dir", str(home)]
    assert main(command) == 0, capsys.readouterr().err


def test_starter_counts_need_no_download(tmp_path: Path, capsys: Any) -> None:
    home = tmp_path / "empty"
    command = ["inspect", "--model", "smollm2-135m-instruct", "--data-dir", str(home), "--json"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["trainable"], found["total"]) == (460_800, 134_975_808)
    assert not home.exists()


@pytest.mark.parametrize("packed", [False, True])
def test_compare(trained: Path, home: Path, capsys: Any, packed: bool) -> None:
    path = trained / ("adapter.zip" if packed else "adapter")
    command = ["compare", "--adapter", str(path), "--prompt", "what is the sea"]
    command += ["--max-new-tokens", "12", "--data-dir", str(home), "--json"]
    assert main(command) == 0
    answers = json.loads(capsys.readouterr().out)
    assert answers["base"] != answers["adapted"]
    assert answers["divergence"] > 0.01
    assert main([*command, "--strength", "0"]) == 0
    same = json.loads(capsys.readouterr().out)
    assert same["base"] == same["adapted"] == answers["base"]
    assert main(command[:-1]) == 0
    assert "adapted:\n" in capsys.readouterr().out


def test_export_merged_answers_as_the_adapter_does(
    trained: Path, model_folder: Path, home: Path, tmp_path: Path, capsys: Any
) -> None:
    from lora_engine import adapter

    out = tmp_path / "merged"
    command = ["export", "--adapter", str(trained / "adapter"), "--format", "merged"]
    command += ["--out", str(out), "--data-dir", str(home)]
    assert main(command) == 0
    merged = AutoModelForCausalLM.from_pretrained(out).eval()
    assert not list(adapted(merged))
    apart = AutoModelForCausalLM.from_pretrained(model_folder)
    adapter.attach(apart, adapter.read(trained / "adapter"))
    ids = torch.arange(30)[None]
    with torch.no_grad():
        expected = apart.eval()(ids).logits
        torch.testing.assert_close(merged(ids).logits, expected, atol=1e-5, rtol=0)
    assert (out / "tokenizer.json").is_file()
    assert main(command) == 1
    assert "is not empty" in capsys.readouterr().err


A, B = "ADAPTER", "OTHER"
"""Stand for adapters of the tiny Llama and of another model."""
BAD: list[tuple[list[str], str]] = [
    (["inspect", "--model", "/nowhere"], "no folder"),
    (["inspect", "--model", "smollm2-135m-instruct", "--r", "0"], "r must be at least 1"),
    (["inspect", "--model", "all-minilm-l6-v2", "--labels", "1"], "labels must be from 2"),
    (["inspect", "--model", "all-minilm-l6-v2", "--labels", "99999999999"], "to 100,000, but is"),
    (["inspect", "--model", "smollm2-135m-instruct", "--r", "9999"], "at most 1,024"),
    (["inspect", "--model", "all-minilm-l6-v2", "--config", "/no.json"], "cannot be read"),
    (["train", "/nowhere.json", "--out", "x"], "cannot be read"),
    (["compare", "--adapter", "/nowhere.zip", "--prompt", "x"], "no adapter at /nowhere.zip"),
    (["compare", "--adapter", A, "--prompt", "x", "--strength", "1.6"], "from 0 to 1.5"),
    (["compare", "--adapter", A, "--prompt", "x", "--strength", "nan"], "from 0 to 1.5"),
    (["compare", "--adapter", A, "--prompt", "x", "--max-new-tokens", "0"], "at least 1"),
    (["compare", "--adapter", A, "--prompt", "x", "--device", "tpu"], "no device named 'tpu'"),
    (["compare", "--adapter", A, "--prompt", "x", "--device", "meta"], "no device named 'meta'"),
    (["compare", "--adapter", A, "--prompt", "a\udcff"], "not UTF-8 text"),
    (["compare", "--adapter", B, "--prompt", "x"], "names no base model"),
    (["predict", "--adapter", A, "--data", "/no.csv", "--out", "x.csv"], "no file “/no.csv”"),
    (["predict", "--adapter", A, "--data", __file__, "--out", "x.xlsx"], "ends in .csv or .jsonl"),
    (["predict", "--adapter", A, "--data", __file__, "--out", "/no/x.csv"], "no folder /no"),
    (["check", "--adapter", __file__], "neither a folder nor a zip"),
    (["check", "--adapter", A, "--base-model", "no-one/no-model"], "cannot be reached"),
    (["ranks", "--adapter", str(Path(__file__).parent)], "holds no adapter_config.json"),
    (["shrink", "--adapter", A, "--r", "4", "--out", "x"], "from 1 to 3"),
    (["shrink", "--adapter", A, "--r", "2", "--out", A], "is not empty"),
    (["shrink", "--adapter", A, "--r", "2", "--out", f"{__file__}/x"], "test_command_line.py: "),
    (["shrink", "--adapter", A, "--r", "2", "--out", "x", "--device", "tpu"], "no device named"),
    (["combine", "--adapters", A, A, "--weights", "1", "-1e300", "--out", "x"], "to 1000"),
    (["combine", "--adapters", A, A, "--weights", "-1e-1", "nan", "--out", "x"], "to 1000"),
    (["combine", "--adapters", A, "--weights", "1", "--out", "x"], "at least two"),
    (["combine", "--adapters", A, B, "--weights", "1", "--out", "x"], "1 weights"),
    (["combine", "--adapters", A, B, "--weights", "1", "1", "--out", "x"], "64×64"),
    (["export", "--adapter", A, "--format", "gguf", "--out", __file__], "exists"),
    (["export", "--adapter", A, "--format", "merged", "--out", __file__], "is there already"),
    *(
        (["export", "--adapter", A, "--format", "merged", "--out", "x", "--max-shard-size", size],
         "is no size") for size in ("nanGB", "0GB", "1e-1GB", "GB", "5")
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("adapters")
    return {
        A: str(make(folder / "a", tiny.llama(), str(model_folder))),
        B: str(make(folder / "b", tiny.llama(hidden_size=128), "")),
    }


@pytest.mark.parametrize(("arguments", "sentence"), BAD)
def test_bad_input_is_one_sentence(
    arguments: list[str], sentence: str, adapters: dict[str, str], home: Path, capsys: Any
) -> None:
    words = [adapters.get(word, word) for word in arguments]
    assert main([*words, "--data-dir", str(home)]) == 1
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said.strip().splitlines()) == 1


def test_every_command_has_bad_input_above_and_explains_itself() -> None:
    parsers = all_parsers()
    assert set(parsers) == {arguments[0] for arguments, _ in BAD}
    for name, parser in parsers.items():
        assert parser.description
        unexplained = [action.dest for action in parser._actions if not action.help]
        assert unexplained == [], name


def all_parsers() -> dict[str, argparse.ArgumentParser]:
    parser = argparse.ArgumentParser()
    parsers = Parsers(parser)
    for group in GROUPS:
        group.add(parsers)
    return dict(parsers._commands.choices)


def test_settings_on_the_command_line_take_the_place_of_the_files(
    model_folder: Path, data_file: Path, home: Path, tmp_path: Path, capsys: Any
) -> None:
    """Also where the file leaves them out; the scores come last, apart from the progress."""
    settings = {"max_steps": 1, "validation_share": 0.2, "precision": "fp32", "base_model": "x"}
    (tmp_path / "c.json").write_text(json.dumps(settings))
    command = ["train", str(tmp_path / "c.json"), "--out", str(tmp_path / "out")]
    command += ["--data-dir", str(home)]
    assert main(command) == 1
    assert "'dataset' is missing" in capsys.readouterr().err
    command += ["--base-model", str(model_folder), "--dataset", str(data_file)]
    assert main([*command, "--test-dataset", str(data_file)]) == 0
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith("On 10 test rows of questions.jsonl: loss ")
    config = TrainConfig.read(tmp_path / "out" / "adapter" / "train_config.json")
    assert (config.base_model, config.dataset) == (str(model_folder), str(data_file))
    assert config.max_steps == 1


def test_inspect_says_why_experts_are_not_offered(tmp_path: Path, capsys: Any) -> None:
    families.make("mixtral").config.save_pretrained(tmp_path / "moe")
    command = ["inspect", "--model", str(tmp_path / "moe"), "--data-dir", str(tmp_path)]
    assert main(command) == 0
    assert "are held as stacked parameters, not as layers" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("lora", "trainable"),
    [
        ({"r": 4, "rank_pattern": {"v_proj": 2}}, 2 * (4 * 128 + 2 * 96)),
        ({"method": "freeze", "freeze_trainable_layers": 1, "bias": "all"}, 30_848),
    ],
)
def test_inspect_counts_what_a_settings_file_trains(
    lora: dict[str, Any], trainable: int, model_folder: Path, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "c.json").write_text(json.dumps({"dataset": "y", "lora": lora}))
    command = ["inspect", "--model", str(model_folder), "--data-dir", str(tmp_path)]
    assert main([*command, "--config", str(tmp_path / "c.json")]) == 0
    assert f"trainable params: {trainable:,} ||" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("in_file", "flags", "held"),
    [
        ({}, [], "none"),
        ({}, ["--use-4bit"], "nf4"),
        ({"quantization": "int8"}, [], "int8"),
        ({"quantization": "int8"}, ["--use-4bit"], "nf4"),
        ({"quantization": "nf4"}, ["--no-4bit"], "none"),
    ],
)
def test_train_holds_the_base_in_four_bits_where_asked(
    in_file: dict[str, str],
    flags: list[str],
    held: str,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lora_engine import train

    config = tmp_path / "config.json"
    config.write_text(json.dumps({"base_model": str(model_folder), "dataset": "x", **in_file}))
    asked = []

    def note(config: TrainConfig, *_: Any, **__: Any) -> train.TrainResult:
        asked.append(config.quantization)
        return train.TrainResult(None, {}, stopped=True)

    monkeypatch.setattr(train, "train", note)
    assert main(["train", str(config), "--out", str(tmp_path), *flags]) == 0
    assert asked == [held]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory.")])
def test_lack_of_memory_is_one_sentence(
    error: Exception,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    from lora_engine import export, train

    def fail(*_: Any, **__: Any) -> None:
        raise error

    config = tmp_path / "config.json"
    config.write_text(json.dumps({"base_model": "m", "dataset": "x", "batch_size": 8}))
    monkeypatch.setattr(train, "train", fail)
    assert main(["train", str(config), "--out", str(tmp_path)]) == 1
    assert "ran out of memory: try batch size 4 instead of 8" in capsys.readouterr().err
    monkeypatch.setattr(export, "export_merged", fail)
    command = ["export", "--format", "merged", "--out", str(tmp_path / "m")]
    assert main([*command, "--adapter", str(tmp_path), "--data-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "There is not enough memory for this.\n"


def test_other_errors_are_not_taken_for_lack_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lora_engine import train

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("shapes do not fit")

    config = tmp_path / "config.json"
    config.write_text(json.dumps({"base_model": "m", "dataset": "x"}))
    monkeypatch.setattr(train, "train", fail)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        main(["train", str(config), "--out", str(tmp_path)])


def test_an_answer_is_told_as_text() -> None:
    assert as_text("Ahoy") == "Ahoy"
    assert as_text({"calm": 0.125, "loud": 0.875}) == "  87.5%  loud\n  12.5%  calm"
