"""Many adapters on one untouched base model, chosen per row of a batch.

Plain pairs of all rows at one module are one batched product (see ``grouped``); whatever else an
adapter may bring (DoRA, embeddings, convolutions, biases, saved modules) goes row by row. Weights
that were trained in place are put into the model for a row alone (see ``whole``): modules may use
them in ways that have nothing to do with rows.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lora_engine.adapter import Adapter, attach
from lora_engine.lora.grouped import Group, Pair, group, pair_of
from lora_engine.lora.inject import adapted, remove, saved_modules
from lora_engine.lora.layers import LoRALayer
from lora_engine.lora.paths import path_class
from lora_engine.lora.whole import WholeWeights

MOST_LOADED = 8
"""Adapters kept ready beside the base; the least recently used makes room."""

Change = Callable[[Tensor, Tensor], Tensor]
"""(input, base output) of one row at one module → the adapted output."""
Changes = dict[str, list[Change]]
"""Module path → what happens there, in order."""
Route = list[tuple[int, float, list[Change]]]
"""Row, strength, and what happens to the row at one module."""


@dataclass(frozen=True)
class Loaded:
    """An adapter, ready to be switched in."""

    adapter: Adapter
    changes: Changes
    whole: WholeWeights | None
    """What is put into the model for a row alone."""


class Switchboard:
    """Sends each row of a batch through its own adapter; the base weights stay untouched.

    Outside ``routed`` the model is the base model.
    """

    def __init__(self, model: nn.Module, *, grouping: bool = True) -> None:
        self._model = model
        self._grouping = grouping
        """False sends every row by itself: the reference that ``grouped`` is tested against."""
        self._loaded: dict[int, Loaded] = {}
        self._hooked: set[str] = set()
        self._row_count = 0
        self._route: dict[str, Group | Route] = {}

    def shares(self, adapters: Sequence[Adapter | None]) -> list[list[int]]:
        """The rows that one batch can take, a list of their numbers for each batch.

        Raises:
            AdapterError: an adapter does not fit the model.
        """
        alone = [adapter is not None and self._goes_alone(adapter) for adapter in adapters]
        together = [row for row, by_itself in enumerate(alone) if not by_itself]
        others = [[row] for row, by_itself in enumerate(alone) if by_itself]
        return [together, *others] if together else others

    def _goes_alone(self, adapter: Adapter) -> bool:
        """Whether it changes what is computed once for all rows, as tables of positions are."""
        loaded = self._load(adapter)
        if loaded.whole:
            return True
        words = getattr(self._model, "get_input_embeddings", lambda: None)()
        embeddings = (self._model.get_submodule(path) for path in loaded.changes)
        return any(
            isinstance(module, nn.Embedding)
            and (words is None or module.weight is not words.weight)
            for module in embeddings
        )

    @contextmanager
    def routed(self, rows: Sequence[tuple[Adapter | None, float]]) -> Iterator[None]:
        """Let row i of every batch pass through ``rows[i]``, an adapter and its strength.

        The rows are one of the ``shares``.

        Raises:
            AdapterError: an adapter does not fit the model.
        """
        self._row_count = len(rows)
        by_path: dict[str, Route] = {}
        with ExitStack() as putting:
            for row, (adapter, strength) in enumerate(rows):
                if adapter is None or not strength:
                    continue
                loaded = self._load(adapter)
                if loaded.whole:
                    assert len(rows) == 1, "such a row has a batch of its own"
                    putting.enter_context(loaded.whole.put_in(strength))
                for path, there in loaded.changes.items():
                    by_path.setdefault(path, []).append((row, strength, there))
            self._route = {path: self._grouped(route) for path, route in by_path.items()}
            try:
                yield
            finally:
                self._route = {}

    def _grouped(self, route: Route) -> Group | Route:
        """The rows at one module as one product, where each has a plain pair there."""
        pairs: list[tuple[int, float, Pair]] = []
        for row, strength, changes in route:
            only = changes[0] if len(changes) == 1 else None
            if not self._grouping or not isinstance(only, _Combine) or only.pair is None:
                return route
            pairs.append((row, strength, only.pair))
        return group(pairs, self._row_count)

    def _load(self, adapter: Adapter) -> Loaded:
        known = self._loaded.pop(id(adapter), None)
        if known is None:
            while len(self._loaded) >= MOST_LOADED:
                self._loaded.pop(next(iter(self._loaded)))
            load = _load if adapter.lora.method == "lora" else _load_whole
            known = load(self._model, adapter)
            for path in known.changes.keys() - self._hooked:
                self._model.get_submodule(path).register_forward_hook(self._hook_at(path))
                self._hooked.add(path)
        self._loaded[id(adapter)] = known
        return known

    def _hook_at(self, path: str) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...], out: Tensor) -> None:
            route = self._route.get(path)
            if route is None:
                return
            if isinstance(route, Group):
                route.add(args[0], out)
                return
            for row, strength, changes in route:
                for change in changes:
                    x, own = self._of_row(args[0], row), self._of_row(out, row)
                    adapted_out = change(x, own)
                    own.copy_(adapted_out if strength == 1 else own.lerp(adapted_out, strength))

        return hook

    def _of_row(self, batch: Tensor, row: int) -> Tensor:
        """Row ``row`` as a batch of one; some families flatten rows × length, in that order."""
        length = len(batch) // self._row_count
        return batch[row * length : (row + 1) * length]


def _load_whole(model: nn.Module, adapter: Adapter) -> Loaded:
    """The weights of a run without pairs; ``model`` is the untouched base before and after."""
    own = {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if name in adapter.tensors
    }
    whole = WholeWeights(model, own)
    with whole.put_in():
        try:
            attach(model, adapter)
        finally:
            model.requires_grad_(False)
    return Loaded(adapter, {}, whole)


def _load(model: nn.Module, adapter: Adapter) -> Loaded:
    """The parts of an adapter with pairs; ``model`` is the untouched base before and after."""
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
            changes.setdefault(path, []).append(_Combine(layer))
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
    alone: dict[str, Tensor] = {}
    for path in {name.rpartition(".")[0] for name in after}:
        own = {name: after[name] for name in after if name.rpartition(".")[0] == path}
        module = model.get_submodule(path)
        if path in layers:
            changes[path].append(_shifted(own[f"{path}.bias"] - before[f"{path}.bias"]))
        elif _makes_one_tensor(module):
            changes[path] = [_replaced(_with_weights(module, path, own))]
        else:
            alone |= own
    return Loaded(adapter, changes, WholeWeights(model, alone) if alone else None)


def _makes_one_tensor(module: nn.Module) -> bool:
    """Whether a module makes one tensor of one: a layer or a norm, but no router and no experts."""
    return path_class(module) is not None or "norm" in type(module).__name__.lower()


class _Combine:
    """A low-rank path beside its layer; ``pair`` is set where it is no more than A and B."""

    def __init__(self, layer: LoRALayer) -> None:
        self._layer = layer
        self.pair = pair_of(layer)

    def __call__(self, x: Tensor, out: Tensor) -> Tensor:
        return self._layer.variant.combine(self._layer, x, out)


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
