"""Frozen linear layers that read the same input, with their low-rank pairs as one product.

Reason: q, k and v (gate and up) each have a pair of r columns, too narrow for the matrix units;
side by side they are one product, and the base product adds them in without a pass of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from lora_engine.fast.dropout import keep_mask, masked, masked_
from lora_engine.fast.onednn import helps, product
from lora_engine.lora.layers import LoRALayer
from lora_engine.lora.paths import LowRank
from lora_engine.lora.variants import plain

Kept = tuple[Tensor, ...]
"""What a group keeps for its backward pass: A(x), and which inputs were not dropped."""


@dataclass(frozen=True)
class Pair:
    """The trained A and B beside one module of a group."""

    module: int
    """Its place in the group."""
    low_rank: LowRank

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """A: r × in and B: out × r, float32."""
        return self.low_rank.lora_A, self.low_rank.lora_B

    def b(self, dtype: torch.dtype) -> Tensor:
        """scaling · B."""
        return (self.low_rank.lora_B.detach() * self.low_rank.scaling).to(dtype)


@dataclass(frozen=True)
class Group:
    """Modules with the same input."""

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor | None, ...]
    pairs: tuple[Pair, ...]
    dropout: float

    @classmethod
    def of(cls, modules: Sequence[nn.Module]) -> Self | None:
        """The group, or None where a module is no frozen linear layer with at most a plain pair."""
        pairs = []
        bases = []
        for place, module in enumerate(modules):
            base = module.base_layer if isinstance(module, LoRALayer) else module
            if isinstance(module, LoRALayer):
                if not _is_plain(module):
                    return None
                pairs.append(Pair(place, module.low_rank))
            if type(base) is not nn.Linear or any(p.requires_grad for p in base.parameters()):
                return None
            bases.append(base)
        rates = {pair.low_rank.dropout_rate for pair in pairs}
        if len(rates) > 1:
            return None
        return cls(
            tuple(base.weight for base in bases),
            tuple(base.bias for base in bases),
            tuple(pairs),
            rates.pop() if rates else 0.0,
        )

    def kept(self, dropping: bool) -> int:
        """How many tensors ``forward`` gives to keep."""
        return (1 + (dropping and self.dropout > 0)) if self.pairs else 0

    def forward(self, x: Tensor, dropping: torch.Generator | None) -> tuple[list[Tensor], Kept]:
        """x: n × in → n × out of each module, in buffers of their own, and what to keep."""
        outs = [product(x, *each) for each in zip(self.weights, self.biases, strict=True)]
        if not self.pairs:
            return outs, ()
        masks: Kept = ()
        if dropping is not None and self.dropout > 0:
            masks = (keep_mask(tuple(x.shape), self.dropout, dropping, x.dtype),)
        used = masked(x, masks[0]) if masks else x
        low = used @ self._a(x.dtype, bool(masks)).T
        for pair, part in zip(self.pairs, self._split(low), strict=True):
            outs[pair.module].addmm_(part, pair.b(x.dtype).T)
        return outs, (low, *masks)

    def backward(
        self, grads: Sequence[Tensor], x: Tensor | None, kept: Kept, needs_x: bool = True
    ) -> tuple[Tensor, list[Tensor]]:
        """The gradient of x (empty where it is not needed), and those of each pair's A and B.

        ``x`` may be None where there are no pairs.
        """
        total = self._through_base(grads) if needs_x else grads[0].new_empty(0)
        if x is None:
            return total, []
        low, *masks = kept
        used = masked(x, masks[0]) if masks else x
        a = self._a(x.dtype, bool(masks))
        own = [grads[pair.module] for pair in self.pairs]
        grad_low = torch.cat(
            [grad @ pair.b(x.dtype) for grad, pair in zip(own, self.pairs, strict=True)], dim=1
        )
        if needs_x and masks:
            total.add_(masked_(grad_low @ a, masks[0]))
        elif needs_x:
            total.addmm_(grad_low, a)
        grad_a = (used.T @ grad_low).T.float()
        if masks:
            grad_a.mul_(self._more)
        found = []
        for pair, grad, part, grad_of_a in zip(
            self.pairs, own, self._split(low), self._split(grad_a, dim=0), strict=True
        ):
            found += [grad_of_a, (grad.T @ part).float().mul_(pair.low_rank.scaling)]
        return total, found

    def _through_base(self, grads: Sequence[Tensor]) -> Tensor:
        """The sum of every module's grad · W: n × in."""
        if helps() and grads[0].dtype == torch.float32:
            total = product(grads[0], self.weights[0].T)
            for grad, weight in zip(grads[1:], self.weights[1:], strict=True):
                total.add_(product(grad, weight.T))
            return total
        total = grads[0] @ self.weights[0]
        for grad, weight in zip(grads[1:], self.weights[1:], strict=True):
            total.addmm_(grad, weight)
        return total

    def _a(self, dtype: torch.dtype, dropping: bool) -> Tensor:
        """Every pair's A, one below the other; more of it where some of its input is dropped."""
        a = torch.cat([pair.low_rank.lora_A.detach() for pair in self.pairs])
        return (a * self._more if dropping else a).to(dtype)

    def _split(self, low: Tensor, dim: int = 1) -> tuple[Tensor, ...]:
        parts: tuple[Tensor, ...] = low.split([pair.low_rank.r for pair in self.pairs], dim)
        return parts

    @property
    def _more(self) -> float:
        """What the inputs that are kept count, so that the sum is what it was."""
        return 1 / (1 - self.dropout)


def _is_plain(layer: LoRALayer) -> bool:
    """Whether a wrapped layer is out + scaling · B(A(x)), and nothing else."""
    pair = layer.low_rank
    simple = type(layer.variant) is plain.Kind and type(pair) is LowRank
    return simple and pair.start_A is None and not layer.merged
