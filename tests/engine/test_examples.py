"""The examples: every settings file is one, every command of their README runs."""

import csv
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from transformers import BertConfig

from lora_engine import catalog
from lora_engine.__main__ import main
from lora_engine.config import TrainConfig
from lora_engine.counts import count_parameters
from lora_engine.data import Library
from lora_engine.inspection import build_profile
from lora_engine.profile import ModelProfile
from tests import tiny
from tests.conftest import ENCODER

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.json"))
README = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line.replace("$'", "'"))[3:]
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]
REAL_DATA = ROOT.parent / "shared" / "data"
BERT = "google-bert/bert-base-uncased"
MRPC = [
    ("1", "1", "2", "the light burns", "the light is what burns"),
    ("0", "3", "4", "the sea is calm", '"the boat'),
    ("1", "5", "6", "the keeper comes home", "home comes the keeper"),
    ("0", "7", "8", "the boat is home", "the light burns now"),
]
SST2 = [("a calm sea", "1"), ("what a cold light", "0"), ("the boat is home", "1")]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_settings_and_counts_are_those_of_the_readme(example: Path, tmp_path: Path) -> None:
    config = TrainConfig.read(example)
    count = count_parameters(profile_for(config.base_model, tmp_path), config.lora)
    row = next(line for line in README.splitlines() if f"`{example.name}`" in line)
    assert f"| {count.trainable:,} | {count.total:,} |" in row
    assert f"r={config.lora.r}," in row
    assert ("every bias" in row) is (config.lora.bias == "all")


def profile_for(base_model: str, folder: Path) -> ModelProfile:
    if base_model == ENCODER:
        return catalog.profile(ENCODER, folder)
    assert base_model == BERT
    BertConfig(architectures=["BertForMaskedLM"]).save_pretrained(folder)
    return build_profile(folder, BERT)


def test_every_settings_file_has_its_command() -> None:
    trained = {Path(words[1]).name for words in COMMANDS if words[0] == "train"}
    assert trained == {example.name for example in EXAMPLES}


@pytest.mark.starter
def test_every_command_runs(
    encoder_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """For one update, on a few rows; a tiny BERT stands for the real one."""
    bert = tiny.save_model_folder(tmp_path / "bert", tiny.bert().base_model, tiny.pair_tokenizer())
    (tmp_path / "examples").mkdir()
    for example in EXAMPLES:
        settings = json.loads(example.read_text()) | {"max_steps": 1, "batch_size": 4}
        (tmp_path / "examples" / example.name).write_text(json.dumps(settings))
    for name in ("mrpc_train.txt", "mrpc_test.txt"):
        if (real := REAL_DATA / name).is_file():
            head = real.read_bytes().splitlines(keepends=True)[:13]
            (tmp_path / name).write_bytes(b"".join(head))
            continue
        write(tmp_path / name, ("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"), MRPC)
    (tmp_path / "SST-2").mkdir()
    for name in ("train.tsv", "dev.tsv"):
        write(tmp_path / "SST-2" / name, ("sentence", "label"), SST2)
    monkeypatch.chdir(tmp_path)
    said = {}
    for command in COMMANDS:
        words = [str(bert) if word in (BERT, "./bert-base-uncased") else word for word in command]
        if command[0] == "train" and "bert" in command[1] and "--base-model" not in command:
            words += ["--base-model", str(bert)]
        assert main([*words, "--data-dir", str(encoder_home)]) == 0, command
        found = capsys.readouterr()
        said[command[0]] = found.out
        if command[0] == "train":
            assert re.search(r"On \d+ test rows of .*: accuracy ", found.err)
    assert set(said) == {"train", "compare", "inspect"}
    assert "lora_A.default.weight  [8, 384]  float32  trainable" in said["inspect"]


def write(path: Path, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """As the real files are: tabs, no quoting, the byte order mark of MRPC's."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        lines = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None)
        lines.writerows([header, *rows])


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="the real data is not on this machine")
def test_the_real_files_are_read_whole(tmp_path: Path) -> None:
    for name, rows in (("mrpc_train.txt", 4076), ("mrpc_test.txt", 1725)):
        dataset = Library(tmp_path).add(REAL_DATA / name)
        config = TrainConfig.read(ROOT / "examples" / "mrpc_minilm.json")
        assert dataset.roles == config.roles
        assert (dataset.total_rows, sum(dataset.label_counts.values())) == (rows, rows)
