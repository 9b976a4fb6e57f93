"""Attention of short packed rows in which every position sees its whole row, with dropout.

Reason: padded to the longest row of all, half of the scores are none; row by row, Python's part
is a fifth of the time. So a few rows of like length are padded together, to a multiple of FILL,
because oneDNN makes new kernels for every new number and length of rows, half a millisecond and a
third of a megabyte each (benchmarks/NOTES.md).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from lora_engine.fast.dropout import masked, masked_

TOGETHER = 4
"""Rows that are padded together, about."""

FILL = 16
"""They are padded to a multiple of this."""


@dataclass(frozen=True)
class Block:
    """Some rows, padded to the longest of them."""

    rows: int
    longest: int
    unseen: Tensor
    """rows·heads × 1 × longest: minus infinity where a row is padded, else 0."""


@dataclass(frozen=True)
class Scores:
    """What is done to them: scaled, and some of what comes of them dropped."""

    scale: float
    kept: Tensor | None
    """What ``keep_mask`` says of each, in the order of the blocks; None keeps all."""
    share: float
    """How many are kept."""

    @property
    def more(self) -> float:
        """What those that are kept count, so that the sum is what it was."""
        return 1.0 if self.kept is None else 1 / self.share

    def parts(self, shapes: Sequence[tuple[int, ...]]) -> list[Tensor | None]:
        """Each block's ``kept``."""
        if self.kept is None:
            return [None] * len(shapes)
        parts = self.kept.split([a * b * c for a, b, c in shapes])
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


@dataclass(frozen=True)
class Attention:
    """Where the heads of packed rows lie when they are padded block by block.

    A block is rows × heads × longest × width of a head; ``spread`` lays the blocks of all queries
    one behind the other, then those of the keys, then those of the values.
    """

    heads: int
    blocks: tuple[Block, ...]
    sources: Tensor
    """For each place in the blocks the head of a packed position (n · 3 · heads) that goes there:
    of its row's first position, where the row is padded."""
    places: Tensor
    """For each head of a packed position its place in the blocks, of the filler behind them."""
    seen: Tensor
    """For each place in the queries' blocks the head of a packed position (n · heads) that sees
    from there; where the row is padded, the first of the filler (n · heads without filler)."""
    filled: bool
    """Whether there is filler."""
    asking: Tensor
    """For each head of a packed position (n · heads) its place in the queries' blocks."""
    by_length: Tensor
    """The rows in the order of the blocks."""

    @classmethod
    def of(cls, lengths: Sequence[int], heads: int, filler: int, dtype: torch.dtype) -> Self:
        """Rows of ``lengths`` positions, and ``filler`` more that belong to none."""
        by_length = torch.tensor(lengths).argsort(stable=True)
        firsts = torch.tensor([0, *lengths]).cumsum(0)
        blocks, positions, real = [], [], []
        for rows in by_length.tensor_split(max(1, round(len(lengths) / TOGETHER))):
            ends = (firsts[rows + 1] - firsts[rows])[:, None, None]
            position = torch.arange(-(-int(ends.max()) // FILL) * FILL)
            there = (position < ends).expand(-1, heads, -1)
            place = firsts[rows, None, None] + position.where(position < ends, 0)
            positions.append((place * 3 * heads + torch.arange(heads)[:, None]).flatten())
            real.append(there.flatten())
            unseen = torch.zeros(there.shape, dtype=dtype).masked_fill_(~there, float("-inf"))
            blocks.append(Block(len(rows), len(position), unseen.flatten(0, 1)[:, None]))
        query, there = torch.cat(positions), torch.cat(real)
        sources = torch.cat([query, query + heads, query + 2 * heads])
        places = torch.full(((int(firsts[-1]) + filler) * 3 * heads,), len(sources))
        where = there.repeat(3).nonzero()[:, 0]
        places[sources[where]] = where
        nowhere = int(firsts[-1]) * heads
        seen = (query // (3 * heads) * heads + query % heads).where(there, nowhere)
        asking = places.view(-1, 3, heads)[:, 0].flatten().clamp(max=len(query))
        return cls(
            *(heads, tuple(blocks), sources, places, seen, filler > 0, asking, by_length),
        )

    def spread(self, qkv: Tensor) -> Tensor:
        """n × 3·heads·width → blocks × width."""
        return qkv.view(qkv.shape[0] * 3 * self.heads, -1).index_select(0, self.sources)

    def gather(self, grads: Tensor) -> Tensor:
        """Back from ``spread``: the gradient of its input, given that of its output and a zero."""
        return grads.index_select(0, self.places).view(-1, 3 * self.heads * grads.shape[1])

    def shapes(self, only_firsts: bool) -> list[tuple[int, int, int]]:
        """Of each block's scores; with ``only_firsts`` just the first position of a row asks."""
        return [
            (block.rows * self.heads, 1 if only_firsts else block.longest, block.longest)
            for block in self.blocks
        ]

    def forward(
        self, spread: Tensor, scores: Scores, only_firsts: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """What is seen, n × heads·width (rows × heads·width with ``only_firsts``), and each
        block's probabilities."""
        probabilities = []
        shapes = self.shapes(only_firsts)
        asked = [rows * asking for rows, asking, _ in shapes]
        every = spread.new_empty(sum(asked) + (not only_firsts), spread.shape[1])
        for (query, key, value), block, mask, seen in zip(
            *(self._apart(spread, only_firsts), self.blocks, scores.parts(shapes)),
            every[: sum(asked)].split(asked),
            strict=True,
        ):
            found = torch.baddbmm(block.unseen, query, key.transpose(1, 2), alpha=scores.scale)
            shares = found.softmax(-1)
            probabilities.append(shares)
            used = shares if mask is None else masked(shares, mask)
            _product(used, value, scores.more, seen.view(query.shape))
        if only_firsts:
            packed = torch.empty_like(every).view(len(self.by_length), -1)
            packed.index_copy_(0, self.by_length, every.view(packed.shape))
        else:
            every[-1] = 0
            packed = every.index_select(0, self.asking).view(-1, self.heads * every.shape[1])
        return packed, probabilities

    def backward(
        self,
        grad: Tensor,
        spread: Tensor,
        scores: Scores,
        only_firsts: bool,
        probabilities: Sequence[Tensor],
    ) -> Tensor:
        """The gradient of what ``spread`` gave, from that of what is seen."""
        width = spread.shape[1]
        if only_firsts:
            of_seen = grad.index_select(0, self.by_length).view(-1, width)
            found = spread.new_zeros(len(spread) + 1, width)
        else:
            heads = grad.view(-1, width)
            # nobody reads the filler, so its gradient is 0
            heads = heads if self.filled else F.pad(heads, (0, 0, 0, 1))
            of_seen = heads.index_select(0, self.seen)
            found = spread.new_empty(len(spread) + 1, width)
            found[-1] = 0
        shapes = self.shapes(only_firsts)
        for parts, outs, of_out, shares, mask in zip(
            *(self._apart(spread, only_firsts), self._apart(found[:-1], only_firsts)),
            of_seen.split([rows * asked for rows, asked, _ in shapes]),
            *(probabilities, scores.parts(shapes)),
            strict=True,
        ):
            query, key, value = parts
            out = of_out.view(query.shape)
            used = shares if mask is None else masked(shares, mask)
            _product(used.transpose(1, 2), out, scores.more, outs[2])
            of_shares = torch.bmm(out, value.transpose(1, 2))
            if mask is not None:
                masked_(of_shares, mask)
            of_scores = torch._softmax_backward_data(of_shares, shares, -1, shares.dtype)
            _product(of_scores, key, scores.scale * scores.more, outs[0])
            _product(of_scores.transpose(1, 2), query, scores.scale * scores.more, outs[1])
        return found

    def _apart(self, spread: Tensor, only_firsts: bool) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Query, key and value of each block, rows·heads × longest × width: parts of ``spread``."""
        shapes = [(block.rows * self.heads, block.longest) for block in self.blocks]
        parts = spread.split([rows * longest for rows, longest in shapes] * 3)
        apart = [part.view(*shape, -1) for part, shape in zip(parts, shapes * 3, strict=True)]
        count = len(shapes)
        queries, keys, values = apart[:count], apart[count : 2 * count], apart[2 * count :]
        if only_firsts:
            queries = [query[:, :1] for query in queries]
        return zip(queries, keys, values, strict=True)


def _product(a: Tensor, b: Tensor, alpha: float, out: Tensor) -> None:
    """alpha · a · b into ``out``."""
    torch.baddbmm(out, a, b, beta=0, alpha=alpha, out=out)
