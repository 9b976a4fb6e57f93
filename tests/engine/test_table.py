"""The parameter table, made from the profile alone, is what the reference's own models print."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from lora_engine import catalog
from lora_engine.__main__ import main
from lora_engine.config import LoraConfig
from lora_engine.counts import count_parameters
from lora_engine.table import filtered, tensor_table
from tests import tiny
from tests.parity.harness import Case, profile_of, reference_of
from tests.parity.test_reference import METHODS


@pytest.mark.parametrize("case", METHODS, ids=str)
def test_as_the_reference_prints(case: Case) -> None:
    found = tensor_table(profile_of(case.make()), case.lora)
    expected = [
        (name, tuple(p.shape), str(p.dtype).removeprefix("torch."), p.requires_grad)
        for name, p in reference_of(case).named_parameters()
    ]
    assert [tuple(row) for row in found] == expected


@pytest.mark.parametrize("case", METHODS, ids=str)
def test_sums_are_the_counts(case: Case) -> None:
    profile = profile_of(case.make())
    rows = tensor_table(profile, case.lora)
    count = count_parameters(profile, case.lora)
    assert sum(math.prod(row.shape) for row in rows) == count.total
    assert sum(math.prod(row.shape) for row in rows if row.trainable) == count.trainable


@pytest.mark.parametrize("method", [None, "freeze", "full"])
def test_without_pairs_it_is_the_model_itself(method: str | None) -> None:
    model = tiny.llama()
    lora = LoraConfig.parse({"method": method, "freeze_trainable_layers": 1}) if method else None
    rows = tensor_table(profile_of(model), lora)
    assert [(row.name, row.shape) for row in rows] == [
        (name, tuple(p.shape)) for name, p in model.named_parameters()
    ]
    frozen = [row.name for row in rows if not row.trainable]
    assert ("model.layers.0.mlp.up_proj.weight" in frozen) is (method == "freeze")
    assert "model.layers.1.mlp.up_proj.weight" not in frozen


def test_filter_takes_text_and_patterns() -> None:
    rows = tensor_table(profile_of(tiny.llama()), LoraConfig(target_modules=("q_proj",)))
    assert len(filtered(rows, "")) == len(rows)
    assert len(filtered(rows, "LORA_")) == 4
    assert len(filtered(rows, r"layers\.1\..*lora_A")) == 1
    assert filtered(rows, "q_proj.lora_A") == filtered(rows, r"q_proj\.lora_A")
    assert filtered(rows, "(") == []


def test_command_line(model_folder: Path, home: Path, capsys: Any) -> None:
    command = ["inspect", "--model", str(model_folder), "--data-dir", str(home), "--tensors"]
    assert main([*command, "--filter", "layers.0.self_attn.q"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "model.layers.0.self_attn.q_proj.weight  [64, 64]  float32  trainable"
    assert said[-1] == "1 tensor, 4,096 parameters, 4,096 of them trainable"
    after = [*command, "--after", "--target-modules", "q_proj", "--r", "4", "--json"]
    assert main([*after, "--filter", "layers.0.self_attn.q"]) == 0
    rows = json.loads(capsys.readouterr().out)["tensors"]
    start = "base_model.model.model.layers.0.self_attn.q_proj."
    assert rows == [
        {"name": f"{start}base_layer.weight", "shape": [64, 64], "dtype": "float32",
         "trainable": False},
        {"name": f"{start}lora_A.default.weight", "shape": [4, 64], "dtype": "float32",
         "trainable": True},
        {"name": f"{start}lora_B.default.weight", "shape": [64, 4], "dtype": "float32",
         "trainable": True},
    ]  # fmt: skip


def test_a_starter_needs_no_download() -> None:
    profile = catalog.profile("smollm2-135m-instruct", Path("nowhere"))
    rows = tensor_table(profile, LoraConfig(target_modules=("q_proj", "v_proj")))
    assert sum(math.prod(row.shape) for row in rows if row.trainable) == 460_800
    assert sum(math.prod(row.shape) for row in rows) == 134_975_808
