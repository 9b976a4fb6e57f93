"""Frozen weights in 4 or 8 bits, by bitsandbytes (an optional extra), on CUDA and on the CPU.

QLoRA (Dettmers et al. 2023, https://arxiv.org/abs/2305.14314): the arithmetic in bf16 or float32,
A and B in float32. Each kind is a file.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig

from lora_engine.extras import check_base
from lora_engine.inspection import BETWEEN, fresh_heads, is_plain
from lora_engine.registry import QUANTIZATIONS, Quantization, code_of

WRITE_ON_OUTPUTS = ("falcon", "longformer", "led")
"""Model types whose forward adds to a linear layer's output, or divides it, in place."""


class Kind(Protocol):
    """What the module of one kind of quantisation has."""

    WEIGHT: str
    """The class of its weights in bitsandbytes."""
    HOLDS_INPUT: bool
    """Whether its product holds its input past autograd's bookkeeping, which then neither sees
    that nor lets go of it where layers are computed twice."""

    def settings(self, kept: list[str], dtype: torch.dtype) -> BitsAndBytesConfig:
        """What transformers needs to load a model whose layers ``kept`` stay as they are."""

    def dequantized(self, layer: Any) -> Tensor:
        """The weight of a layer in float32, out × in."""

    def states(self, layer: Any) -> list[Tensor]:
        """What a layer keeps beside its weight, to read it."""


def quantization_settings(
    kind: Quantization, dtype: torch.dtype, model: nn.Module
) -> BitsAndBytesConfig:
    """What transformers needs to load the linear layers of ``model`` (on the meta device) as
    ``kind``; the head, and layers whose sides the CPU kernels cannot cut into blocks, stay.

    Raises:
        SettingsError: bitsandbytes is not installed.
    """
    check_base(kind)
    head, fresh = cast(Any, model).get_output_embeddings(), set(fresh_heads(model))
    fresh |= set(BETWEEN if fresh else ())  # which the files may not have either
    kept = [
        path
        for path, layer in model.named_modules()
        if isinstance(layer, nn.Linear)
        and (
            layer is head
            or not fresh.isdisjoint(path.split("."))
            or layer.in_features % 64
            or layer.out_features % 32
        )
    ]
    found: BitsAndBytesConfig = code_of("quantization", kind).settings(kept, dtype)
    return found


@contextmanager
def of_plain_layers(model: nn.Module) -> Iterator[None]:
    """Within, models of the family of ``model`` are built of ``nn.Linear`` where they use a class
    of their own that does the same (Falcon): transformers quantises no other class.
    """
    own = {
        type(layer)
        for layer in model.modules()
        if isinstance(layer, nn.Linear) and type(layer) is not nn.Linear and is_plain(layer)
    }
    replaced = [(sys.modules[kind.__module__], kind) for kind in own]
    for module, kind in replaced:
        setattr(module, kind.__name__, nn.Linear)
    try:
        yield
    finally:
        for module, kind in replaced:
            setattr(module, kind.__name__, kind)


def keep_trainable(model: nn.Module) -> None:
    """Keep 4-bit layers from changing their layout at the first evaluation on a CPU.

    bitsandbytes 0.50 repacks a weight there for a kernel that has no backward pass, so that a
    model that was evaluated once would train with wrong gradients below it. Families that write on
    what a layer gives get a copy: autograd allows no writing on what its functions give.
    """
    writes = cast(Any, model).config.model_type in WRITE_ON_OUTPUTS
    for module in model.modules():
        if writes and is_quantized(module):
            module.register_forward_hook(lambda _module, _args, out: out.clone())
        if hasattr(module, "support_avx512bf16_for_cpu"):
            cast(Any, module).support_avx512bf16_for_cpu = False


def is_quantized(layer: nn.Module) -> bool:
    """Whether a layer's weight is held in few bits."""
    return _kind_of(layer) is not None


def holds_input(layer: nn.Module) -> bool:
    """Whether a layer's product holds its input past autograd's bookkeeping; see ``Kind``."""
    kind = _kind_of(layer)
    return kind is not None and kind.HOLDS_INPUT


def dequantized(layer: nn.Module) -> Tensor:
    """The weight of a linear layer in float32, out × in; quantised or not."""
    kind = _kind_of(layer)
    return kind.dequantized(layer) if kind else cast(Tensor, cast(Any, layer).weight).float()


def base_memory_mb(model: nn.Module) -> float:
    """Memory of a model's parameters and buffers and of what quantisation keeps beside them (the
    scale of each block or row), in MB of 10**6 bytes."""
    kept = [*model.parameters(), *model.buffers()]
    for layer in model.modules():
        if kind := _kind_of(layer):
            kept += kind.states(layer)
    return sum(tensor.numel() * tensor.element_size() for tensor in kept) / 1e6


def _kind_of(layer: nn.Module) -> Kind | None:
    weight = type(getattr(layer, "weight", None)).__name__
    kinds: list[Kind] = [code_of("quantization", name) for name in QUANTIZATIONS]
    return next((kind for kind in kinds if weight == kind.WEIGHT), None)
