"""Frozen weights in 4 or 8 bits, by bitsandbytes (an optional extra), on CUDA and on the CPU.

QLoRA (Dettmers et al. 2023, https://arxiv.org/abs/2305.14314): NF4 with double quantisation, the
arithmetic in bf16 or float32, A and B in float32.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig

from lora_engine.config import Quantization
from lora_engine.errors import ModelError, SettingsError
from lora_engine.inspection import fresh_heads
from lora_engine.lora.inject import adapted
from lora_engine.lora.layers import LoRALayer


def quantization_settings(
    kind: Quantization, dtype: torch.dtype, model: nn.Module
) -> BitsAndBytesConfig:
    """What transformers needs to load the linear layers of ``model`` (on the meta device) as
    ``kind``; the head, and layers whose sides the CPU kernels cannot cut into blocks, stay.

    Raises:
        ModelError: bitsandbytes is not installed.
    """
    if find_spec("bitsandbytes") is None:
        raise ModelError(
            "Quantised bases need the package bitsandbytes: install it with "
            "`pip install -c constraints.txt -e .[quantized]`, or choose no quantisation."
        )
    head, fresh = cast(Any, model).get_output_embeddings(), fresh_heads(model)
    kept = [
        path
        for path, layer in model.named_modules()
        if isinstance(layer, nn.Linear)
        and (
            layer is head
            or path.partition(".")[0] in fresh
            or layer.in_features % 64
            or layer.out_features % 32
        )
    ]
    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        llm_int8_skip_modules=kept,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def keep_trainable(model: nn.Module) -> None:
    """Keep 4-bit layers from changing their layout at the first evaluation on a CPU.

    bitsandbytes 0.50 repacks a weight there for a kernel that has no backward pass, so that a
    model that was evaluated once would train with wrong gradients below it.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            cast(Any, module).support_avx512bf16_for_cpu = False


def dequantized(layer: nn.Module) -> Tensor:
    """The weight of a quantised linear layer in float32, out × in."""
    weight = cast(Any, layer).weight
    if type(weight).__name__ == "Params4bit":
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(weight.data, weight.quant_state).float()
    if type(weight).__name__ == "Int8Params":
        from bitsandbytes.functional import int8_vectorwise_dequant

        scale = weight.SCB if weight.SCB is not None else cast(Any, layer).state.SCB
        return cast(Tensor, int8_vectorwise_dequant(weight.data, scale)).float()
    return cast(Tensor, weight).float()


def base_memory_mb(model: nn.Module) -> float:
    """Memory of a model's parameters and buffers and of what quantisation keeps beside them (the
    scale of each block or row), in MB of 10**6 bytes."""
    kept = [*model.parameters(), *model.buffers()]
    kept += [state for weight in model.parameters() for state in _states(weight)]
    return sum(tensor.numel() * tensor.element_size() for tensor in kept) / 1e6


def _states(weight: Any) -> list[Tensor]:
    """The tensors that a quantised weight needs to be read."""
    state = getattr(weight, "quant_state", None)
    nested = getattr(state, "state2", None)
    found = [getattr(weight, "SCB", None), getattr(state, "offset", None)]
    found += [getattr(one, name, None) for one in (state, nested) for name in ("absmax", "code")]
    return [tensor for tensor in found if tensor is not None]


@torch.no_grad()
def start_from_what_was_lost(model: nn.Module, original: nn.Module) -> tuple[float, float]:
    """LoftQ with one step (Li et al. 2023, https://arxiv.org/abs/2310.08659): A and B start as
    the best rank-r approximation of W − Q, so that base and pair together are closest to W.

    ``model`` is injected and quantised, ``original`` the same model with its own weights. The
    quantised base stays the plain one, so the adapter fits every load of it. Returns the mean
    relative error ‖W − W'‖ / ‖W‖ of the adapted layers without and with the pair.

    Raises:
        SettingsError: the base is not quantised, so that nothing was lost.
    """
    errors = list(_errors(model, original))
    if not errors:
        raise SettingsError(
            "lora.init_lora_weights", "The LoftQ start needs a quantised base: choose nf4 or int8."
        )
    return (
        sum(before for before, _ in errors) / len(errors),
        sum(after for _, after in errors) / len(errors),
    )


def _errors(model: nn.Module, original: nn.Module) -> Iterator[tuple[float, float]]:
    for path, layer in adapted(model):
        if type(layer.weight).__name__ not in ("Params4bit", "Int8Params"):
            continue
        weight = cast(Any, original.get_submodule(path)).weight.detach().float()
        lost = weight - dequantized(layer.base_layer).to(weight.device)
        _fit(layer, lost)
        left = lost - layer.low_rank.delta_weight().to(lost.device)
        yield float(lost.norm() / weight.norm()), float(left.norm() / weight.norm())


def _fit(layer: LoRALayer, lost: Tensor) -> None:
    pair = layer.low_rank
    u, s, vt = torch.linalg.svd(lost, full_matrices=False)
    root = (s[: pair.r] / pair.scaling).sqrt()
    pair.lora_A.copy_(root[:, None] * vt[: pair.r])
    pair.lora_B.copy_(u[:, : pair.r] * root)
