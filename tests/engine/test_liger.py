"""Liger's real kernels, interpreted, give the plain numbers, and leave nothing behind."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_engine.fast import choice, liger
from lora_engine.fast.choice import choose_path
from lora_engine.fast.liger import LigerPath
from lora_engine.fast.varlen import VarlenPath
from lora_engine.loss import LossPath
from tests import tiny
from tests.engine.test_fast import settings

ROOT = Path(__file__).parents[2]
FUSED = {"llama": 7, "mistral": 7, "qwen2": 7, "qwen3": 11, "gemma": 7, "phi3": 7}
"""Norms and gates in two layers and the last norm."""
OTHERS = ("granite", "gpt_neox")
"""One that Liger knows but whose logits are scaled, and one that it does not know."""


@pytest.mark.skipif(not liger.is_installed(), reason="needs liger-kernel")
def test_its_kernels_give_the_plain_numbers_and_can_be_undone() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.liger_in_interpreter", *FUSED, *OTHERS],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    for name, seen in found.items():
        assert seen["path"] == ("LigerPath" if name in FUSED else "PaddedPath"), name
        assert seen["kernels"] == FUSED.get(name, 0), name
        assert seen["apart"] < 1e-5, name
        assert seen["restored"], name


@pytest.mark.parametrize("installed", [False, True])
def test_it_is_tried_first_on_a_card_where_it_is_installed(
    installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[type] = []

    def first_that_fits(plain: LossPath, _: Any, ways: Any, **__: Any) -> LossPath:
        tried.extend(way.func for way in ways if isinstance(way, partial))
        return plain

    monkeypatch.setattr(choice, "first_that_fits", first_that_fits)
    monkeypatch.setattr(liger, "PACKAGE", "json" if installed else "no_such_package")
    model = tiny.llama().requires_grad_(False)
    choose_path(model, settings(), 0, torch.device("meta"), longest=30)
    assert (LigerPath in tried) is installed
    assert tried.index(VarlenPath) == int(installed)
