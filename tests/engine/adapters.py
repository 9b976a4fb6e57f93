"""Adapters as they lie in folders, made without a run: ours, and the reference's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import torch
from transformers import PreTrainedModel

from lora_engine import adapter as adapter_files
from lora_engine.adapter import Adapter
from lora_engine.config import LoraConfig
from lora_engine.inspection import profile_model
from lora_engine.lora.inject import inject
from tests import tiny

QV = ("q_proj", "v_proj")
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (tiny.llama, {}),
    "rslora and patterns": (tiny.llama, {
        "use_rslora": True, "rank_pattern": {"v_proj": 2}, "alpha_pattern": {"q_proj": 5}}),
    "conv1d": (tiny.gpt2, {"target_modules": ["c_attn", "c_proj"]}),
    "embedding": (tiny.untied, {"target_modules": ["embed_tokens", "q_proj"]}),
    "convolutions": (tiny.convolutional, {"target_modules": ["first", "second", "last"]}),
    "pissa": (tiny.llama, {"init_lora_weights": "pissa"}),
    "dora, biases, saved": (tiny.bert, {
        "target_modules": ["query", "value"], "use_dora": True, "bias": "all"}),
}  # fmt: skip


def make(
    folder: Path,
    model: PreTrainedModel,
    base_model: str = "x",
    seed: int = 1,
    size: float = 0.1,
    **settings: Any,
) -> Path:
    """Our adapter on ``model``, moved off its start by noise of ``size``; saved in ``folder``."""
    lora = LoraConfig.parse({"r": 4, "lora_dropout": 0, "target_modules": QV, **settings})
    profile = profile_model(model, base_model)
    inject(model, lora, profile)
    shake(adapter_files.trained_tensors(model), seed, size)
    adapter_files.save(model, folder, lora, profile, base_model=base_model)
    if lora.method != "lora":  # only a run's settings say what such weights are
        training = {"base_model": base_model, "lora": lora.to_json()}
        (folder / "train_config.json").write_text(json.dumps(training))
    return folder


def shake(tensors: dict[str, torch.Tensor], seed: int, size: float) -> None:
    """Add noise to every tensor."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in tensors.values():
            tensor.add_(torch.randn(tensor.shape, generator=generator) * size)


def make_peft(
    folder: Path, build: Callable[[], PreTrainedModel], seed: int = 1, **settings: Any
) -> Path:
    """The reference's adapter, moved off its start, as its own ``save_pretrained`` writes it."""
    model = build()
    chosen = {"r": 4, "target_modules": list(QV), "task_type": "CAUSAL_LM", **settings}
    wrapped = peft.get_peft_model(model, peft.LoraConfig(**chosen))
    shake({n: p for n, p in wrapped.named_parameters() if p.requires_grad}, seed, 0.1)
    wrapped.save_pretrained(folder)
    return folder


def delta_weights(adapter: Adapter) -> dict[str, torch.Tensor]:
    """ΔW of every module in float64, formed in full from the files, with PEFT's scaling rule."""
    found = {}
    for name, a in adapter.tensors.items():
        for side, other in (("lora_A.weight", "lora_B.weight"), ("embedding_A", "embedding_B")):
            if name.endswith(side):
                path = name.removesuffix(f".{side}").removesuffix(".lora_embedding_A")
                b = adapter.tensors[name.removesuffix(side) + other]
                scaling = adapter.lora.scaling_of(path.removesuffix(".lora"))
                product = b.double().flatten(1) @ a.double().flatten(1)
                found[path.removesuffix(".lora")] = scaling * product
    return found


def made(case: str, folder: Path) -> Path:
    """The adapter of one of ``CASES``."""
    build, settings = CASES[case]
    return make(folder / "adapter", build(), **settings)
