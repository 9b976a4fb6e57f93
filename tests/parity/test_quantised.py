"""Adapters on bases in few bits against the reference: QLoRA, and DoRA beside it."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from lora_engine.model import load_base
from lora_engine.quantization import base_memory_mb, is_quantized
from tests import tiny
from tests.parity.harness import Case, check_logits_and_gradients, pair
from tests.parity.test_families import make as family

pytest.importorskip("bitsandbytes")
CPU = torch.device("cpu")
MODELS: dict[str, tuple[Any, list[str]]] = {
    "llama": (tiny.llama, ["q_proj", "up_proj"]),
    "gpt2": (tiny.gpt2, ["c_attn", "c_fc"]),
    "falcon": (partial(family, "falcon"), ["query_key_value", "dense"]),
}


def base_in(kind: str, folder: Path) -> PreTrainedModel:
    return load_base(folder, CPU, torch.float32, kind)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", ["nf4", "int8"])
@pytest.mark.parametrize("settings", [{}, {"use_dora": True}], ids=["lora", "dora"])
@pytest.mark.filterwarnings("ignore:MatMul8bitLt")
def test_logits_and_gradients(
    name: str, kind: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    make, targets = MODELS[name]
    folder = tiny.save_model_folder(tmp_path / "model", make())
    case = Case(name, partial(base_in, kind, folder), {"target_modules": targets, **settings})
    held = case.make()
    assert any(map(is_quantized, held.modules()))
    assert base_memory_mb(held) < base_memory_mb(make())
    ours, theirs = pair(case)  # the reference on a base that is loaded here: it has no Falcon
    check_logits_and_gradients(ours, theirs, atol=1e-4, rtol=1e-3)
