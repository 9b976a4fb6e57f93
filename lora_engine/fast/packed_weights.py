"""float32 weights in oneDNN's own order, for several answers at once and for their prompts.

Reason: a frozen float32 product with a few rows is held up by the order that its weight lies in.
As it lies, five rows cost 1.4 to 2 times one row; repacked, 0.8 to 1.3 times, and prompts of 50 to
100 tokens a tenth to a fifth less (benchmarks/notes/generation.md). The copy takes as much memory
as the weights, so it is made only where there is plenty. The numbers are the same up to the order
of summation.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Self

import psutil
import torch
from torch import Tensor, nn

from lora_engine.fast.onednn import helps

FEWEST_ROWS, MOST_ROWS = 3, 256
"""Below, the weight as it lies is quicker; above, the order of the weight hardly counts."""
PACKED_FOR_ROWS = 64
SPARE = 3
"""So many times what the copies take must be free."""


def pack(model: nn.Module) -> int:
    """Give the frozen float32 linear layers of ``model`` a packed copy of their weights.

    Gives how many there are: none where it would not help or memory is short.
    """
    layers = [module for module in model.modules() if type(module) is nn.Linear and _fits(module)]
    weights = {id(layer.weight): layer.weight for layer in layers}
    size = sum(weight.nbytes for weight in weights.values())
    if not helps() or SPARE * size > psutil.virtual_memory().available:
        return 0
    reorder: Any = torch.ops.mkldnn._reorder_linear_weight
    packed = {key: reorder(weight.detach(), PACKED_FOR_ROWS) for key, weight in weights.items()}
    for layer in layers:
        own = _Packed(layer.weight, packed[id(layer.weight)])
        layer.forward = partial(_forward, layer, layer.forward, own)  # type: ignore[method-assign]
    return len(layers)


def _fits(layer: nn.Linear) -> bool:
    weight = layer.weight
    return (
        weight.dtype == torch.float32 and weight.device.type == "cpu" and not weight.requires_grad
    )


class _Packed:
    """A layer's weight in both orders. A copy of the layer may be given another weight, so a copy
    of this is empty."""

    def __init__(self, weight: Tensor | None, packed: Tensor | None) -> None:
        self.weight = weight
        self.packed = packed

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(None, None)


def _forward(
    layer: nn.Linear, before: Callable[[Tensor], Tensor], own: _Packed, x: Tensor
) -> Tensor:
    """The layer's forward as it was ``before``, but for few rows without a gradient."""
    rows = x.numel() // layer.in_features
    few = FEWEST_ROWS <= rows <= MOST_ROWS and x.dtype == torch.float32
    if not few or layer.weight is not own.weight or torch.is_grad_enabled():
        return before(x)
    linear: Any = torch.ops.mkldnn._linear_pointwise
    found: Tensor = linear(x, own.packed, layer.bias, "none", [], "")
    return found
