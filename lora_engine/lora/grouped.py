"""The plain pairs of several rows at one module as two batched products.

Reason: row by row, an answer's step calls hundreds of small products one after the other, and each
costs more to call than to compute. In one batch the cost hardly grows with the rows. The numbers
are those of ``plain.Kind`` up to the order of multiplication: scaling and strength are put into B
once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lora_engine.lora.layers import LoRALayer
from lora_engine.lora.paths import LowRank
from lora_engine.lora.variants import plain


class Pair(NamedTuple):
    """What one adapter adds at one linear layer: (x @ a.T) @ b."""

    a: Tensor
    """r × in."""
    b: Tensor
    """r × out, times the scaling."""


def pair_of(layer: LoRALayer) -> Pair | None:
    """A layer's pair, or None where the layer does more than to add scaling · b(a(x))."""
    path = layer.low_rank
    if type(path) is not LowRank or type(layer.variant) is not plain.Kind:
        return None
    if path.start_A is not None or path.start_B is not None:
        return None
    scaled = path.lora_B.detach().T * path.scaling
    return Pair(path.lora_A.detach(), scaled.contiguous())


class Group:
    """The pairs of some rows of a batch at one module, stacked."""

    def __init__(self, rows: Sequence[int], row_count: int, a: Tensor, b: Tensor) -> None:
        self._row_count = row_count
        first, last = rows[0], rows[-1] + 1
        self._span = (first, last - first) if last - first == len(rows) else None
        """Neighbouring rows are seen in place; others are gathered and added."""
        self._rows = torch.tensor(rows, device=a.device)
        self._a = a
        """rows × in × r."""
        self._b = b
        """rows × r × out, which is read faster in this order."""

    def add(self, x: Tensor, out: Tensor) -> None:
        """Add to the rows of ``out`` (rows × … × out) what their pairs make of ``x``."""
        if self._a.dtype != x.dtype:
            self._a, self._b = self._a.to(x.dtype), self._b.to(x.dtype)
        x = x.reshape(self._row_count, -1, x.shape[-1])
        seen = out.view(self._row_count, -1, out.shape[-1])
        if self._span:
            own = seen.narrow(0, *self._span)
            own.baddbmm_(torch.bmm(x.narrow(0, *self._span), self._a), self._b)
        else:
            low = torch.bmm(x.index_select(0, self._rows), self._a)
            seen.index_add_(0, self._rows, torch.bmm(low, self._b))


def group(pairs: Sequence[tuple[int, float, Pair]], row_count: int) -> Group:
    """(row, strength, pair) of ascending rows as one group; smaller ranks are filled with zeros."""
    most = max(len(pair.a) for _, _, pair in pairs)
    a = [_filled(pair.a, most) for _, _, pair in pairs]
    b = [
        _filled(pair.b if strength == 1 else pair.b * strength, most) for _, strength, pair in pairs
    ]
    rows = [row for row, _, _ in pairs]
    if len(pairs) == 1:  # no copy: the first token waits for this at every module
        return Group(rows, row_count, a[0][None].mT, b[0][None])
    return Group(rows, row_count, torch.stack(a).mT, torch.stack(b))


def _filled(matrix: Tensor, rows: int) -> Tensor:
    """``matrix`` with rows of zeros below, so that it has ``rows``."""
    return matrix if len(matrix) == rows else F.pad(matrix, (0, 0, 0, rows - len(matrix)))
