"""What is dropped, drawn quickly and from a generator of one's own.

Reason: torch draws a number of 24 bits for each value, which costs ten times what the layer norm
beside it does; 16 bits are enough to drop with, and four of them come from one draw. What is kept
is told by integers, 1 or 0, because a product of the numbers' bits with them is a third of a
product of bfloat16 numbers, which are made float32 first (benchmarks/NOTES.md). A generator of one's own lets two threads drop
at once and still drop the same in every run.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Generator, Tensor, nn

STEPS = 2**16
"""A rate is kept to one part of so many."""

_drawing = threading.local()


def keep_mask(
    shape: tuple[int, ...], rate: float, generator: Generator, dtype: torch.dtype
) -> Tensor:
    """For ``masked``: 1 where a value of ``dtype`` is kept, and 0 where it is dropped, which happens
    with chance ``rate``; integers of its size."""
    count = math.prod(shape)
    drawn = torch.empty(-(-count // 4), dtype=torch.int64).random_(
        -(2**63), None, generator=generator
    )
    below = min(round((1 - rate) * STEPS) - STEPS // 2, STEPS // 2 - 1)
    mask = drawn.view(torch.int16)[:count].view(shape).lt_(below)
    return mask if dtype.itemsize == mask.itemsize else mask.to(torch.int32)


def masked(x: Tensor, mask: Tensor) -> Tensor:
    """x, and 0 where it is dropped; without a gradient."""
    return (x.view(mask.dtype) * mask).view(x.dtype)


def masked_(x: Tensor, mask: Tensor) -> Tensor:
    """The same in place."""
    x.view(mask.dtype).mul_(mask)
    return x


@contextmanager
def drawing_from(generator: Generator | None) -> Iterator[None]:
    """Within, and in this thread, dropout modules that ``own`` has seen draw from ``generator``."""
    _drawing.generator = generator
    try:
        yield
    finally:
        _drawing.generator = None


def own(model: nn.Module) -> None:
    """Let the dropout modules of ``model`` draw from the generator of ``drawing_from``."""
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.forward = partial(_forward, module)  # type: ignore[method-assign]


def disown(model: nn.Module) -> None:
    """Undo ``own``."""
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__dict__.pop("forward", None)


def _forward(module: nn.Dropout, x: Tensor) -> Tensor:
    generator: Generator | None = getattr(_drawing, "generator", None)
    if generator is None or not module.training or not module.p:
        return nn.Dropout.forward(module, x)
    kept = keep_mask(tuple(x.shape), module.p, generator, x.dtype)
    return x * kept.to(x.dtype) / (1 - module.p)
