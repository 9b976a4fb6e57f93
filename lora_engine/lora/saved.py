"""Modules that are trained whole and saved with the adapter (PEFT's ``modules_to_save``)."""

import copy
from typing import Any

import torch
from torch import nn


class SavedModule(nn.Module):
    """A frozen module and the float32 copy of it that is trained and used in its place."""

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        self.original = original
        self.trained = copy.deepcopy(original).float().requires_grad_(True)
        self._dtype = next(original.parameters()).dtype

    def forward(self, *args: Any, **options: Any) -> Any:
        """What the trained copy makes of the inputs, in the original's dtype."""
        out = self.trained(*(_as(torch.float32, value) for value in args), **options)
        return _as(self._dtype, out)

    @property
    def weight(self) -> Any:
        """The trained weight, for families that look at a head's or embedding's own."""
        return self.trained.weight


def _as(dtype: torch.dtype, value: Any) -> Any:
    is_float = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.to(dtype) if is_float else value
