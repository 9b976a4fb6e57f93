"""Many adapters on one untouched base model, chosen per row of a batch."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lora_engine.adapter import Adapter, attach
from lora_engine.lora.inject import adapted, remove, saved_modules
from lora_engine.lora.layers import LoRALayer

MOST_LOADED = 8
"""Adapters kept ready beside the base; the least recently used makes room."""

Change = Callable[[Tensor, Tensor], Tensor]
"""(input, base output) of one row at one module → the adapted output."""
Changes = dict[str, list[Change]]
"""Module path → what happens there, in order."""


class Switchboard:
    """Sends each row of a batch through its own adapter; the base weights stay untouched.

    Outside ``routed`` the model is the base model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._loaded: dict[int, tuple[Adapter, Changes]] = {}
        self._hooked: set[str] = set()
        self._row_count = 0
        self._route: list[tuple[int, float, Changes]] = []

    @contextmanager
    def routed(self, rows: Sequence[tuple[Adapter | None, float]]) -> Iterator[None]:
        """Let row i of every batch pass through ``rows[i]``, an adapter and its strength.

        Raises:
            AdapterError: an adapter does not fit the model.
        """
        self._row_count = len(rows)
        self._route = [
            (row, strength, self._changes(adapter))
            for row, (adapter, strength) in enumerate(rows)
            if adapter is not None and strength
        ]
        try:
            yield
        finally:
            self._route = []

    def _changes(self, adapter: Adapter) -> Changes:
        known = self._loaded.pop(id(adapter), None)
        if known is None:
            while len(self._loaded) >= MOST_LOADED:
                self._loaded.pop(next(iter(self._loaded)))
            known = (adapter, _load(self._model, adapter))
            for path in known[1].keys() - self._hooked:
                self._model.get_submodule(path).register_forward_hook(self._hook_at(path))
                self._hooked.add(path)
        self._loaded[id(adapter)] = known
        return known[1]

    def _hook_at(self, path: str) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...], out: Tensor) -> None:
            for row, strength, changes in self._route:
                for change in changes.get(path, ()):
                    x, own = self._of_row(args[0], row), self._of_row(out, row)
                    adapted_out = change(x, own)
                    own.copy_(adapted_out if strength == 1 else own.lerp(adapted_out, strength))

        return hook

    def _of_row(self, batch: Tensor, row: int) -> Tensor:
        """Row ``row`` as a batch of one; some families flatten rows × length, in that order."""
        length = len(batch) // self._row_count
        return batch[row * length : (row + 1) * length]


def _load(model: nn.Module, adapter: Adapter) -> Changes:
    """An adapter's parts for ``model``, which is the untouched base before and after."""
    before = {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        # beside a pair only a bias is trained; a weight there is PEFT's copy of the base's
        if name in adapter.tensors
        or (name.endswith(".bias") and _on_base_layer(name) in adapter.tensors)
    }
    changes: Changes = {}
    try:
        attach(model, adapter)
        layers = dict(adapted(model))
        for path, layer in layers.items():
            layer.eval()
            changes.setdefault(path, []).append(_combine(layer))
        for path, saved in saved_modules(model):
            _unhook(saved.trained)
            changes.setdefault(path, []).append(_replaced(saved.eval()))
            before = {n: t for n, t in before.items() if not n.startswith(f"{path}.")}
        changed = {
            name: model.get_parameter(_on_base_layer(name) if path in layers else name)
            for name in before
            for path in [name.rpartition(".")[0]]
        }
        after = {name: parameter.detach().clone() for name, parameter in changed.items()}
        with torch.no_grad():
            for name, parameter in changed.items():
                parameter.copy_(before[name])
    finally:
        remove(model)
        model.requires_grad_(False)
    for path in {name.rpartition(".")[0] for name in after}:
        own = {name: after[name] for name in after if name.rpartition(".")[0] == path}
        if path in layers:
            changes[path].append(_shifted(own[f"{path}.bias"] - before[f"{path}.bias"]))
        else:
            changes[path] = [_replaced(_with_weights(model.get_submodule(path), path, own))]
    return changes


def _combine(layer: LoRALayer) -> Change:
    return lambda x, out: layer.variant.combine(layer, x, out)


def _replaced(module: nn.Module) -> Change:
    def replace(x: Tensor, _out: Tensor) -> Tensor:
        replaced: Tensor = module(x)
        return replaced

    return replace


def _shifted(bias_change: Tensor) -> Change:
    return lambda _x, out: out + bias_change.to(out.dtype)


def _with_weights(module: nn.Module, path: str, weights: dict[str, Tensor]) -> nn.Module:
    """A copy of a module (without parts) that has other weights."""
    other = copy.deepcopy(module)
    _unhook(other)
    with torch.no_grad():
        for name, value in weights.items():
            other.get_parameter(name.removeprefix(f"{path}.")).copy_(value)
    return other


def _unhook(copied: nn.Module) -> None:
    """Take the switch's own hooks off a copy; they would ask for the copy again, without end."""
    for module in copied.modules():
        module._forward_hooks.clear()


def _on_base_layer(name: str) -> str:
    """A parameter's name once its module is wrapped."""
    path, _, kind = name.rpartition(".")
    return f"{path}.base_layer.{kind}"
