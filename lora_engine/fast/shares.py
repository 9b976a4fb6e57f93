"""An update shared out among threads, each with packs of whole rows.

Reason: see ``fast/crew.py``. What is common to every packed way, whatever its rows teach.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Generator, Tensor, nn

from lora_engine.batches import Example
from lora_engine.data.examples import IGNORED
from lora_engine.fast.crew import AT_ONCE, Crew
from lora_engine.fast.even import split_evenly

Item = TypeVar("Item")
Result = TypeVar("Result")

PACK_TOKENS = 576
"""Tokens that a pack has at the most where its rows divide evenly: matrix units are busy from 400
on, and memory grows with it."""
WIDE_PACK_TOKENS = 448
"""The same in float32, where a token's activations are twice as large."""

ROUND = 16
"""Packs are filled up to a multiple of this: for each new length of a matrix oneDNN makes new
kernels, half a millisecond and a third of a megabyte each; with AMX 1 to 5 ms."""

MOST_ROUND = 64
"""The same for small packs of a small model, where making kernels would be a tenth of the time."""


class Shares:
    """The part of a packed way that takes whole updates."""

    _model: Any
    _trained: list[Tensor]
    _crew: Crew | None
    """None where one pack is taken after the other."""
    _own_draws: bool
    """Whether a pack's own generator draws all that it drops."""

    def learned(self, examples: list[Example]) -> float:
        """See ``LossPath``."""
        raise NotImplementedError

    def loss_sum(self, examples: list[Example], dropping: Generator | None = None) -> Tensor:
        """See ``LossPath``; ``dropping`` draws what is dropped, None: torch's own generator."""
        raise NotImplementedError

    def _work(self, example: Example) -> float:
        """What a row costs, in any unit."""
        raise NotImplementedError

    def batches(self, examples: list[Example]) -> Iterator[list[Example]]:
        """Packs of at most about PACK_TOKENS, or WIDE_PACK_TOKENS."""
        for share in self.shares(examples):
            yield from share

    def shares(self, examples: list[Example]) -> list[list[list[Example]]]:
        """The packs of each thread: the same work for all of them, in even packs."""
        shares = split_evenly(examples, AT_ONCE if self._crew else 1, self._work)
        most = WIDE_PACK_TOKENS if self._model.dtype == torch.float32 else PACK_TOKENS
        return [
            split_evenly(share, math.ceil(sum(map(row_length, share)) / most), row_length)
            for share in shares
        ]

    def backward(self, examples: list[Example]) -> float:
        """See ``TakesUpdates``."""
        learned = self.learned(examples)
        trained = self._trained

        def one(share: list[tuple[int, list[Example]]]) -> tuple[float, dict[int, Tensor]]:
            total = 0.0
            sums: dict[int, Tensor] = {}  # of what a loss depends on: a model may have more layers
            for seed, pack in share:
                dropping = Generator().manual_seed(seed) if self._own_draws else None
                loss = self.loss_sum(pack, dropping) / learned
                found = torch.autograd.grad(loss, trained, allow_unused=True)
                gradients = {n: each for n, each in enumerate(found) if each is not None}
                for n in gradients.keys() - sums.keys():
                    sums[n] = torch.zeros_like(trained[n])
                torch._foreach_add_([sums[n] for n in gradients], list(gradients.values()))
                total += loss.item()
            return total, sums

        total = 0.0
        for loss, gradients in self._each(one, self._seeded(self.shares(examples))):
            total += loss
            for n, gradient in gradients.items():
                tensor = trained[n]
                tensor.grad = gradient if tensor.grad is None else tensor.grad.add_(gradient)
        return total

    def total_loss(self, examples: list[Example]) -> float:
        """See ``TakesUpdates``."""

        @torch.no_grad()  # which is a matter of each thread
        def one(share: list[list[Example]]) -> float:
            return sum(float(self.loss_sum(pack)) for pack in share)

        return sum(self._each(one, self.shares(examples)))

    def _seeded(self, shares: list[list[list[Example]]]) -> list[list[tuple[int, list[Example]]]]:
        """Each pack with a seed for what it drops."""
        seeds = iter(torch.randint(2**62, (sum(map(len, shares)),)).tolist())
        return [[(next(seeds), pack) for pack in share] for share in shares]

    def _each(self, work: Callable[[Item], Result], items: Sequence[Item]) -> Iterable[Result]:
        return self._crew.map(work, items) if self._crew else map(work, items)


def row_length(example: Example) -> int:
    """The tokens of a row."""
    return len(example["input_ids"])


def coarse(tokens: int) -> int:
    """A quarter to an eighth of ``tokens`` to round them to, from ROUND to MOST_ROUND."""
    return int(min(max(ROUND, 2 ** (tokens.bit_length() - 3)), MOST_ROUND))


def filled_up(examples: list[Example], multiple: int = ROUND) -> list[Example]:
    """With a last row from which nothing is learned, where the pack is no multiple of that."""
    filler = -sum(map(row_length, examples)) % multiple
    if not filler:
        return examples
    blank = {name: [IGNORED if name == "labels" else 0] * filler for name in examples[0]}
    return [*examples, blank]


def trained_in(model: nn.Module) -> list[Tensor]:
    """What is trained in an injected model."""
    return [tensor for tensor in model.parameters() if tensor.requires_grad]
