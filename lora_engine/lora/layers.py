"""A frozen layer with a trainable low-rank path beside it."""

from collections.abc import Callable
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lora_engine.lora.paths import LowRank
from lora_engine.lora.variants import Variant
from lora_engine.quantization import dequantized


class LoRALayer(nn.Module):
    """A frozen layer and its low-rank path; the variant says how the two make one output.

    ``base_layer`` is an ``nn.Linear``, GPT-2 ``Conv1D``, ``nn.Embedding``, ``nn.Conv1d`` or
    ``nn.Conv2d``.
    """

    def __init__(
        self,
        base_layer: nn.Module,
        low_rank: LowRank,
        variant: Variant,
        start: "Callable[[LoRALayer], None]",
    ) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.low_rank = low_rank
        self.variant = variant
        self.merged = False
        start(self)
        variant.add_parameters(self)

    def forward(self, x: Tensor) -> Tensor:
        """What the base layer takes → what it gives, plus what was learned."""
        out = cast(Tensor, self.base_layer(x))
        return out if self.merged else self.variant.combine(self, x, out)

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation."""
        self.variant.forget()
        return super().train(mode)

    @property
    def weight(self) -> Tensor:
        """The base's weight: some families look at its dtype."""
        return cast(Tensor, self.base_layer.weight)

    @property
    def bias(self) -> Tensor | None:
        """The base's bias."""
        return cast("Tensor | None", getattr(self.base_layer, "bias", None))

    @torch.no_grad()
    def merge(self) -> None:
        """Put what was learned into the base weight, so that the layer costs what the base costs.

        Only this layer changes, also where another one shares the weight.
        """
        if not self.merged:
            self._store(self.variant.merged_weight(self, self.stored()))
            self.merged = True

    @torch.no_grad()
    def unmerge(self) -> None:
        """Take it out again (equal up to rounding of the weight's dtype)."""
        if self.merged:
            self._store(self.variant.unmerged_weight(self, self.stored()))
            self.merged = False

    def stored(self) -> Tensor:
        """The base weight in float32, out × in whatever way the base stores it, and in however
        few bits."""
        weight = dequantized(self.base_layer).detach()
        return weight.T if isinstance(self.base_layer, Conv1D) else weight

    def _store(self, weight: Tensor) -> None:
        weight = weight.T if isinstance(self.base_layer, Conv1D) else weight
        layer: Any = self.base_layer
        layer.weight = nn.Parameter(weight.to(layer.weight.dtype).contiguous(), requires_grad=False)
