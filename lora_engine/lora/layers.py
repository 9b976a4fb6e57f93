"""A linear layer with a trainable low-rank path beside its frozen weight."""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lora_engine.config import LoraConfig

BaseLinear = nn.Linear | Conv1D


class LowRank(nn.Module):
    """The pair A, B of one adapted module: ``delta(x) = scaling · B(A(dropout(x)))``.

    Hu et al. 2021, equation 3, with ``scaling = lora_alpha / r`` (section 4.1). A is drawn from
    the Kaiming uniform distribution with a=√5 and B is zero, so a fresh pair changes nothing.
    Both are float32; the product is taken in the dtype of ``x``.
    """

    def __init__(self, in_features: int, out_features: int, lora: LoraConfig) -> None:
        super().__init__()
        self.r = lora.r
        self.scaling = lora.lora_alpha / lora.r
        self.dropout = nn.Dropout(lora.lora_dropout)
        self.lora_A = nn.Parameter(torch.empty(lora.r, in_features))
        """r × in_features."""
        self.lora_B = nn.Parameter(torch.zeros(out_features, lora.r))
        """out_features × r."""
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """x: … × in_features → … × out_features, what the pair adds to the base's output."""
        low = F.linear(self.dropout(x), self.lora_A.to(x.dtype)) * self.scaling
        return F.linear(low, self.lora_B.to(x.dtype))

    def delta_weight(self) -> Tensor:
        """ΔW = scaling · B·A, out_features × in_features, float32."""
        return self.scaling * (self.lora_B @ self.lora_A)


class LoRALinear(nn.Module):
    """``base_layer(x) + low_rank(x)`` for a frozen ``nn.Linear`` or GPT-2 ``Conv1D``."""

    def __init__(self, base_layer: BaseLinear, low_rank: LowRank) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.low_rank = low_rank
        self.merged = False

    def forward(self, x: Tensor) -> Tensor:
        """x: … × in_features → … × out_features."""
        out = cast(Tensor, self.base_layer(x))
        return out if self.merged else out + self.low_rank(x)

    @torch.no_grad()
    def merge(self) -> None:
        """Add ΔW to the base weight, so that the layer costs what the base costs."""
        if not self.merged:
            self.base_layer.weight += self._delta_as_stored()
            self.merged = True

    @torch.no_grad()
    def unmerge(self) -> None:
        """Take ΔW out of the base weight again (equal up to rounding of the weight's dtype)."""
        if self.merged:
            self.base_layer.weight -= self._delta_as_stored()
            self.merged = False

    def _delta_as_stored(self) -> Tensor:
        """ΔW laid out and typed as the base stores its weight (Conv1D: in × out)."""
        delta = self.low_rank.delta_weight()
        if isinstance(self.base_layer, Conv1D):
            delta = delta.T
        return delta.to(self.base_layer.weight.dtype)
