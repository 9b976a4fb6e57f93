"""Weights that a run trained in place, put into their base model for a while."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Places = list[tuple[nn.Module, str]]


class WholeWeights:
    """Other values for some of a model's parameters; the model's own are kept beside them.

    Whoever shares a parameter gets the other value too, as with an embedding and its head.
    """

    def __init__(self, model: nn.Module, values: Mapping[str, Tensor]) -> None:
        """``values``: parameter name → a tensor of its shape, format and device."""
        places: dict[int, Places] = {}
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                places.setdefault(id(parameter), []).append((module, name))
        self._values = [
            (own, nn.Parameter(value, requires_grad=False), places[id(own)])
            for name, value in values.items()
            for own in [model.get_parameter(name)]
        ]

    @contextmanager
    def put_in(self, strength: float = 1.0) -> Iterator[None]:
        """Let the model have these weights, or what lies ``strength`` of the way towards them."""
        try:
            for own, value, places in self._values:
                between = value if strength == 1 else _between(own, value, strength)
                _put(between, places)
            yield
        finally:
            for own, _, places in self._values:
                _put(own, places)


def _put(parameter: nn.Parameter, places: Places) -> None:
    for module, name in places:
        module._parameters[name] = parameter


def _between(own: nn.Parameter, value: nn.Parameter, strength: float) -> nn.Parameter:
    return nn.Parameter(torch.lerp(own.detach(), value.detach(), strength), requires_grad=False)
