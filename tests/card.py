"""A stand-in for a GPU on machines without one: torch's meta device, with strict rules.

Meta tensors have shapes, dtypes and a device, but no numbers. Every operation of a run is looked
at: one that mixes the card's tensors with the processor's raises, as CUDA does, and whatever needs
a number of the card (and so would wait for it) is counted and told 1.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CARD = torch.device("meta")
aten = torch.ops.aten
COPIES = {aten._to_copy.default, aten.copy_.default}
"""What moves numbers between devices."""
READ = aten._local_scalar_dense.default
READS = {READ, aten.is_nonzero.default, aten.equal.default}
"""What asks for one number."""


class MixedDevicesError(RuntimeError):
    """An operation was given tensors of the card and of the processor."""


class Card(TorchDispatchMode):
    """Watches every operation in this thread."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()
        """What has been read from the card, by operation."""
        self.operations = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        """Called by torch."""
        kwargs = kwargs or {}
        with self:  # in inference mode composite operations come whole
            if (parts := func.decompose(*args, **kwargs)) is not NotImplemented:
                return parts
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        on_card = [tensor for tensor in given if tensor.device.type == CARD.type]
        self.operations += bool(on_card)
        if func in READS and on_card:
            self.reads["item"] += 1
            is_truth = func is not READ or args[0].dtype is torch.bool
            return True if is_truth else 1.0 if args[0].is_floating_point() else 1
        if func in COPIES:
            return self._copy(func, args, kwargs)
        here = [tensor for tensor in given if tensor.device.type != CARD.type and tensor.ndim]
        if on_card and here:
            shapes = [(str(tensor.device), tuple(tensor.shape)) for tensor in given]
            raise MixedDevicesError(f"{func} is given {shapes}")
        return func(*args, **kwargs)

    def _copy(self, func: Any, args: Any, kwargs: Any) -> Any:
        if func is aten._to_copy.default:
            source, target = args[0], torch.device(kwargs.get("device") or args[0].device)
            if source.device.type == CARD.type != target.type:
                self.reads["copy"] += 1
                dtype = kwargs.get("dtype") or source.dtype
                return torch.ones(source.shape, dtype=dtype, device=target)
        elif args[1].device.type == CARD.type != args[0].device.type:
            self.reads["copy"] += 1
            return args[0].fill_(1)
        return func(*args, **kwargs)


@contextmanager
def card() -> Iterator[Card]:
    """The stand-in, within the block."""
    with Card() as watched:
        yield watched
