"""Frozen linear layers that read the same input as one layer, low-rank pairs included.

Reason: for a small model it is not the products that take the time but how many there are, above
all with two threads that take turns in Python. As one layer q, k and v are one product instead of
three, and their pairs are two instead of six: the B of each stands in its own rows of one matrix,
with zeros beside it, which is cheap as long as r is small against the width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Generator, Tensor, nn

from lora_engine.fast.dropout import keep_mask, masked, masked_
from lora_engine.fast.onednn import product, product_onto
from lora_engine.fast.pairs import Group, Kept
from lora_engine.lora.layers import LoRALayer


@dataclass(frozen=True)
class Stacked:
    """Modules with the same input, one below the other."""

    weight: Tensor
    """Sum of outs × in, frozen; the modules' own weights are parts of it."""
    bias: Tensor | None
    group: Group
    starts: tuple[int, ...]
    """The first row of each module in ``weight``, and the end."""

    @classmethod
    def of(cls, modules: Sequence[nn.Module]) -> Self | None:
        """The stack, or None where ``Group.of`` gives none or some have a bias and some not."""
        group = Group.of(modules)
        if group is None or len({bias is None for bias in group.biases}) > 1:
            return None
        if len(modules) == 1:
            return cls(group.weights[0], group.biases[0], group, (0, len(group.weights[0])))
        weight = torch.cat([weight.detach() for weight in group.weights])
        biases = [bias.detach() for bias in group.biases if bias is not None]
        starts = [0]
        for module in modules:
            base: Any = module.base_layer if isinstance(module, LoRALayer) else module
            starts.append(starts[-1] + base.out_features)
            base.weight.data = weight[starts[-2] : starts[-1]]  # instead of a second copy
        return cls(weight, torch.cat(biases) if biases else None, group, tuple(starts))

    def kept(self, dropping: bool) -> int:
        """How many tensors ``forward`` gives to keep."""
        return (4 + (dropping and self.group.dropout > 0)) if self.group.pairs else 0

    def forward(self, x: Tensor, dropping: Generator | None) -> tuple[Tensor, Kept]:
        """x: n × in → n × sum of outs, in a buffer of its own, and what to keep."""
        out = product(x, self.weight, self.bias)
        if not self.group.pairs:
            return out, ()
        rate = self.group.dropout
        masks: Kept = ()
        if dropping and rate:
            masks = (keep_mask(tuple(x.shape), rate, dropping, x.dtype),)
        a, b = self._pairs(x.dtype, bool(masks))
        used = masked(x, masks[0]) if masks else x
        low = used @ a.T
        return out.addmm_(low, b.T), (used, low, a, b, *masks)

    def backward(
        self, grad: Tensor, kept: Kept, onto: Tensor | None = None, needs_x: bool = True
    ) -> tuple[Tensor, list[Tensor]]:
        """The gradient of x (empty where it is not needed), and those of each pair's A and B.

        ``onto``: what of it comes from elsewhere; the sum is left there.
        """
        if not needs_x:
            total = grad.new_empty(0)
        elif onto is None:
            total = product(grad, self.weight.T)
        else:
            total = product_onto(onto, grad, self.weight.T)
        if not self.group.pairs:
            return total, []
        used, low, a, b, *masks = kept
        grad_low = grad @ b
        if needs_x and masks:
            total.add_(masked_(grad_low @ a, masks[0]))
        elif needs_x:
            total.addmm_(grad_low, a)
        grad_a = (grad_low.T @ used).float()
        if masks:
            grad_a.mul_(1 / (1 - self.group.dropout))
        grad_b = (low.T @ grad).T.float()
        found, row = [], 0
        for pair in self.group.pairs:
            start, end = self.starts[pair.module : pair.module + 2]
            rows = slice(row, row := row + pair.low_rank.r)
            found += [grad_a[rows], grad_b[start:end, rows] * pair.low_rank.scaling]
        return total, found

    def _pairs(self, dtype: torch.dtype, dropping: bool) -> tuple[Tensor, Tensor]:
        """Sum of r × in and sum of outs × sum of r, in ``dtype``.

        A counts for more where some of its input is dropped; B is times the scaling.
        """
        pairs = self.group.pairs
        a = torch.cat([pair.low_rank.lora_A.detach() for pair in pairs])
        b = a.new_zeros(self.starts[-1], len(a))
        row = 0
        for pair in pairs:
            start, end = self.starts[pair.module : pair.module + 2]
            own = pair.low_rank.lora_B.detach() * pair.low_rank.scaling
            b[start:end, row : (row := row + pair.low_rank.r)] = own
        more = 1 / (1 - self.group.dropout) if dropping else 1.0
        return (a * more).to(dtype), b.to(dtype)
