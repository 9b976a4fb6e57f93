"""What is dropped, drawn quickly and from a generator of one's own.

Reason: torch draws a number of 24 bits for each value, which costs ten times what the layer norm
beside it does. Here eight values are dropped by one draw of 64 bits, and each still at exactly the
rate that is asked for (``keep_mask``). What is kept is told by integers, 1 or 0, because a product
of the numbers' bits with them is a third of a product of bfloat16 numbers, which are made float32
first (benchmarks/NOTES.md). A generator of one's own lets two threads drop at once and still drop
the same in every run.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Generator, Tensor, nn

STEPS = 2**8
"""How many values a part of a draw can have."""
MOST_BY_PARTS = 1 - 2 / STEPS
"""Above, a part of a draw has no value left that says both."""
BITS = {2: torch.int16, 4: torch.int32}
"""Bytes of a number → integers of as many."""

_drawing = threading.local()


def keep_mask(
    shape: tuple[int, ...], rate: float, generator: Generator, dtype: torch.dtype
) -> Tensor:
    """For ``masked`` on numbers of ``dtype``: 0 with chance ``rate``, where one is dropped, else 1.

    As wide as numbers of 16 bits, because torch would widen it in a pass of its own at each use;
    for wider numbers int8, which is a quarter of their memory.

    A rate of 25.6 / 256 is 25 / 256 in four calls of ten and 26 / 256 in the others. So each value
    is dropped at the very rate; that two of a call fall together more often than by chance is a
    matter of 1 in 25,000 (the correlation at a rate of 0.1).
    """
    bits = BITS[dtype.itemsize] if dtype.itemsize == 2 else torch.int8
    if rate > MOST_BY_PARTS:
        return (torch.rand(shape, generator=generator) >= rate).to(bits)
    count = math.prod(shape)
    dropped = int(rate * STEPS + float(torch.rand((), generator=generator)))
    drawn = torch.empty(-(-count // 8), dtype=torch.int64).random_(
        -(2**63), None, generator=generator
    )
    parts = drawn.view(torch.int8)[:count].view(shape)
    return parts.ge_(dropped - STEPS // 2).to(bits)


def masked(x: Tensor, mask: Tensor) -> Tensor:
    """x, and 0 where it is dropped; without a gradient."""
    return (x.view(BITS[x.itemsize]) * mask).view(x.dtype)


def masked_(x: Tensor, mask: Tensor) -> Tensor:
    """The same in place."""
    x.view(BITS[x.itemsize]).mul_(mask)
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
