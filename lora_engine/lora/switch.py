"""Many adapters on one untouched base model, chosen per row of a batch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from lora_engine.adapter import Adapter, attach
from lora_engine.inspection import is_bias
from lora_engine.lora.inject import adapted, remove
from lora_engine.lora.layers import LowRank

MOST_LOADED = 8
"""Adapters kept ready beside the base; the least recently used makes room."""


class AddOn(nn.Module):
    """What one adapter adds to one module's output: a low-rank path, a change of bias, or both."""

    def __init__(self, low_rank: LowRank | None, bias_change: Tensor | None) -> None:
        super().__init__()
        self.low_rank = low_rank
        self.bias_change = bias_change

    def add_to(self, out: Tensor, x: Tensor, strength: float) -> None:
        """Add in place to one row's output. x: length × in, out: length × out."""
        if self.low_rank is not None:
            out.add_(self.low_rank(x), alpha=strength)
        if self.bias_change is not None:
            out.add_(self.bias_change.to(out.dtype), alpha=strength)


AddOns = dict[str, AddOn]
"""Module path → what is added there."""


class Switchboard:
    """Adds each row's own adapter to the outputs of a base model, whose weights stay untouched.

    Outside ``routed`` the model is the base model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._loaded: dict[int, tuple[Adapter, AddOns]] = {}
        self._hooked: set[str] = set()
        self._row_count = 0
        self._route: list[tuple[int, float, AddOns]] = []

    @contextmanager
    def routed(self, rows: Sequence[tuple[Adapter | None, float]]) -> Iterator[None]:
        """Let row i of every batch pass through ``rows[i]``, an adapter and its strength.

        Raises:
            AdapterError: an adapter does not fit the model.
        """
        self._row_count = len(rows)
        self._route = [
            (row, strength, self._add_ons(adapter))
            for row, (adapter, strength) in enumerate(rows)
            if adapter is not None and strength
        ]
        try:
            yield
        finally:
            self._route = []

    def _add_ons(self, adapter: Adapter) -> AddOns:
        known = self._loaded.pop(id(adapter), None)
        if known is None:
            while len(self._loaded) >= MOST_LOADED:
                self._loaded.pop(next(iter(self._loaded)))
            known = (adapter, _load(self._model, adapter))
            self._hook(known[1])
        self._loaded[id(adapter)] = known
        return known[1]

    def _hook(self, add_ons: AddOns) -> None:
        for path in add_ons.keys() - self._hooked:
            self._model.get_submodule(path).register_forward_hook(self._hook_at(path))
            self._hooked.add(path)

    def _hook_at(self, path: str) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...], out: Tensor) -> None:
            # Some families flatten rows × length before a layer; row-major order is kept.
            for row, strength, add_ons in self._route:
                if (add_on := add_ons.get(path)) is not None:
                    x = cast(Tensor, args[0])
                    x = x.reshape(self._row_count, -1, x.shape[-1])
                    target = out.view(self._row_count, -1, out.shape[-1])
                    add_on.add_to(target[row], x[row], strength)

        return hook


def _load(model: nn.Module, adapter: Adapter) -> AddOns:
    """Take an adapter's parts for ``model``, which is the untouched base before and after."""
    base_biases = {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if is_bias(name) and name in adapter.tensors
    }
    try:
        attach(model, adapter)
        low_ranks = {path: layer.low_rank.eval() for path, layer in adapted(model)}
    finally:
        remove(model)
        with torch.no_grad():
            for name, value in base_biases.items():
                model.get_parameter(name).copy_(value)
        model.requires_grad_(False)
    bias_changes = {
        name.rpartition(".")[0]: adapter.tensors[name].to(value.device) - value
        for name, value in base_biases.items()
    }
    return {
        path: AddOn(low_ranks.get(path), bias_changes.get(path))
        for path in low_ranks.keys() | bias_changes.keys()
    }
