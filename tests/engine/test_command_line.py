"""The command line: train, inspect, compare, export; bad input is one sentence and status 1."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from lora_engine.__main__ import main
from lora_engine.lora.inject import adapted
from lora_engine.progress import Progress


@pytest.fixture
def trained(model_folder: Path, data_file: Path, home: Path, tmp_path: Path, capsys: Any) -> Path:
    """An adapter made by ``train``, whose standard output is checked on the way."""
    config = tmp_path / "config.json"
    settings = {"base_model": str(model_folder), "dataset": str(data_file), "max_steps": 6}
    settings |= {"learning_rate": 0.05, "batch_size": 4, "precision": "fp32"}
    config.write_text(json.dumps(settings))
    out = tmp_path / "out"
    assert main(["train", str(config), "--out", str(out), "--data-dir", str(home)]) == 0
    lines = capsys.readouterr().out.splitlines()
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


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["inspect", "--model", "/nowhere"], "no folder"),
        (["inspect", "--model", "smollm2-135m-instruct", "--r", "0"], "r must be at least 1"),
        (["train", "/nowhere.json", "--out", "x"], "cannot be read"),
        (["compare", "--adapter", "/nowhere.zip", "--prompt", "x"], "adapter"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], sentence: str, capsys: Any) -> None:
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize("flags", [[], ["--use-4bit"]])
def test_train_holds_the_base_in_four_bits_where_asked(
    flags: list[str], model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lora_engine import train

    config = tmp_path / "config.json"
    config.write_text(json.dumps({"base_model": str(model_folder), "dataset": "x"}))
    asked = []
    monkeypatch.setattr(train, "train", lambda config, *_, **__: asked.append(config.quantization))
    assert main(["train", str(config), "--out", str(tmp_path), *flags]) == 0
    assert asked == ["nf4" if flags else "none"]
