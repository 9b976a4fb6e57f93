"""float32 products with frozen weights by oneDNN, where torch's own take the slow way.

Reason: torch gives float32 matrix products to MKL, which uses half of an AMD processor's vector
width. oneDNN, which torch brings along, uses all of it: 2.0 to 2.4 times as fast at 512 tokens,
and up to five times at the one or two rows of an answer that is being written
(benchmarks/NOTES.md). The numbers are the same up to the order of summation.
"""

from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEW_ROWS = 4
"""Up to here weight · xᵀ is the quickest form, and two columns are quicker than one."""


@cache
def helps() -> bool:
    """Whether this machine's float32 products are quicker by oneDNN."""
    found = torch.cpu.get_capabilities()
    return (
        "AMD" in str(found.get("cpu_name", ""))
        and bool(found.get("avx512_f"))
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


@cache
def adds_bias() -> bool:
    """Whether oneDNN adds the bias within a bfloat16 product on this machine."""
    supported: Any = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return bool(supported and supported() and hasattr(torch.ops.mkldnn, "_linear_pointwise"))


def quicken(model: nn.Module) -> int:
    """Let the frozen float32 linear layers of ``model`` on the CPU take the quick way.

    The layers stay what they are; gives how many there are. Nothing happens where it would not
    help.
    """
    if not helps():
        return 0
    layers = [module for module in model.modules() if type(module) is nn.Linear and _fits(module)]
    for layer in layers:
        layer.forward = partial(_forward, layer)  # type: ignore[method-assign]
    return len(layers)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias for a frozen weight (out × in): by oneDNN where that is quicker."""
    if x.device.type == "cpu" and x.dtype == weight.dtype:
        wide = x.dtype == torch.float32 and helps()
        # torch writes the bias first and adds the product to it: a pass of its own
        if wide or (x.dtype == torch.bfloat16 and bias is not None and adds_bias()):
            return _by_onednn(x, weight, bias)
    return F.linear(x, weight, bias)


def product_onto(total: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """``total`` plus x @ weight.T for a frozen weight (out × in), left in ``total``."""
    if total.dtype == torch.float32 and helps():
        return total.add_(product(x, weight))
    return total.addmm_(x, weight.T)  # no pass of its own for the sum


def _fits(layer: nn.Linear) -> bool:
    weight = layer.weight
    return (
        weight.dtype == torch.float32 and weight.device.type == "cpu" and not weight.requires_grad
    )


def _forward(layer: nn.Linear, x: Tensor) -> Tensor:
    weight, bias = layer.weight, layer.bias
    trains = weight.requires_grad or (bias is not None and bias.requires_grad)
    if trains or x.dtype != torch.float32:
        return F.linear(x, weight, bias)
    if x.requires_grad and torch.is_grad_enabled():
        return _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call, no-any-return]
    return _by_onednn(x, weight, bias)


class _Linear(torch.autograd.Function):
    """x · Wᵀ + b for a frozen layer; saves nothing but the weight, which is there anyway."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return _by_onednn(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        return _by_onednn(gradients[0], weight.T, None), None, None


def _by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """… × in → … × out."""
    rows = x.numel() // x.shape[-1]
    if 0 < rows <= FEW_ROWS and weight.is_contiguous():
        # row by row in memory, before and after: the transposed order is five times slower here
        columns = x.reshape(rows, -1).contiguous()
        out = torch.mm(weight, columns.repeat(2, 1).T if rows == 1 else columns.T)
        out = out.T[:rows].contiguous().view(*x.shape[:-1], -1)
        return out if bias is None else out + bias
    linear: Any = torch.ops.mkldnn._linear_pointwise
    found: Tensor = linear(x, weight, bias, "none", [], "")
    return found
