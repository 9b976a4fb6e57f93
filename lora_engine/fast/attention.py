"""Attention over packed rows on a CPU, as batched matrix products over blocks of queries.

Reason: on a CPU torch's flash kernel has a slow backward, and the eager form computes the half
above the diagonal only to mask it and repeats keys and values for grouped queries. This form
skips the upper half block by block, and shares each key head among its query heads.
(benchmarks/NOTES.md has the measurements.)
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

NAME = "packed_blocks"
"""The name for ``model.set_attn_implementation``."""

PADDED = "packed_rows"
"""The same for encoders: short rows, every position sees its whole row, with dropout."""

VARLEN = "packed_varlen"
"""The same for GPUs (``fast/varlen.py``)."""

ATTENDING = {"attention", "full_attention", "sliding_attention", "chunked_attention"}
"""Kinds of layers, as a model's config names them, whose tokens meet in attention alone."""

BLOCK = 128
"""Queries a block; 64 and 256 measured slower."""


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention that never crosses the row borders in ``cu_seq_lens_q``; transformers' interface.

    query: 1 × heads × tokens × width; key, value: 1 × key heads × tokens × width; the result is
    1 × tokens × heads × width. Causal unless the module says otherwise. No row may be longer
    than the model's attention window.

    Raises:
        NotImplementedError: a mask, dropout or soft cap, which this form does not know.
    """
    if attention_mask is not None or dropout or options.get("softcap") or query.shape[0] != 1:
        raise NotImplementedError("packed attention knows only plain causal or full attention")
    borders = options.get("cu_seq_lens_q")
    ends = [0, query.shape[2]] if borders is None else borders.tolist()
    causal = is_causal(module, options)
    key_heads = key.shape[1]
    query = query[0].unflatten(0, (key_heads, -1)).transpose(1, 2)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    rows = []
    for start, end in pairwise(ends):
        rows.append(
            _RowAttention.apply(  # type: ignore[no-untyped-call]
                query[:, start:end],
                key[0, :, start:end],
                value[0, :, start:end],
                scale,
                causal,
            )
        )
    out = rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)
    return out.transpose(0, 1).flatten(1, 2)[None], None


def is_causal(module: nn.Module, options: Mapping[str, Any]) -> bool:
    """Whether no position sees ahead: as the call says, else as the module does."""
    said = options.get("is_causal")
    return bool(getattr(module, "is_causal", True) if said is None else said)


def keeps_rows_apart(model: Any) -> bool:
    """Whether rows packed into one can be kept apart: their tokens meet in transformers' attention
    and nowhere else.

    A convolution, a recurrence or an attention of the model's own reads across their borders; in a
    model that knows little yet, by so little that no measured loss tells.
    """
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    return (
        model._can_set_attn_implementation()
        and model._supports_attention_backend
        and not model._is_stateful
        and kinds <= ATTENDING
        and not any(isinstance(module, nn.Conv1d) for module in model.modules())
    )


def padded_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[Tensor, None]:
    """Full attention within the rows that ``cu_seq_lens_q`` borders; transformers' interface.

    query, key, value: 1 × heads × tokens × width; the result is 1 × tokens × heads × width. Rows
    are padded to the longest here and nowhere else, so that all of them are one batched product.

    Raises:
        NotImplementedError: a mask, no borders, or grouped queries.
    """
    borders = options.get("cu_seq_lens_q")
    if attention_mask is not None or borders is None or key.shape[1] != query.shape[1]:
        raise NotImplementedError("padded attention knows only full attention in packed rows")
    lengths = borders.diff().long()
    rows, longest = len(lengths), int(lengths.max())
    real = torch.arange(longest) < lengths[:, None]
    places = real.flatten().nonzero()[:, 0].to(query.device)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling

    def padded(states: Tensor) -> Tensor:
        """1 × heads × tokens × width → rows × heads × longest × width."""
        flat = states[0].transpose(0, 1)
        grid = flat.new_zeros(rows * longest, *flat.shape[1:]).index_copy(0, places, flat)
        return grid.view(rows, longest, *flat.shape[1:]).transpose(1, 2)

    unseen = torch.zeros(rows, 1, 1, longest, dtype=query.dtype, device=query.device)
    unseen.masked_fill_(~real[:, None, None].to(query.device), torch.finfo(query.dtype).min)
    scores = padded(query * scale) @ padded(key).transpose(2, 3) + unseen
    seen = nn.functional.dropout(scores.softmax(-1), dropout, module.training)
    out = (seen @ padded(value)).transpose(1, 2).flatten(0, 1)
    return out.index_select(0, places)[None], None


@contextmanager
def without_packing(model: Any) -> Iterator[None]:
    """Let a model whose attention takes packed rows take batches and a cache for a while."""
    own = model.config._attn_implementation
    if own in (NAME, PADDED, VARLEN):
        model.set_attn_implementation("sdpa" if model._supports_sdpa else "eager")
    try:
        yield
    finally:
        model.set_attn_implementation(own)


def row_forward(
    scaled: Tensor, key: Tensor, value: Tensor, causal: bool, out: Tensor
) -> list[Tensor]:
    """softmax(Q·Kᵀ)·V of one row into ``out``; gives the probabilities by block of queries.

    scaled, out: key heads × n × group × width, so that the queries of a block and of all heads
    that share a key lie together; scaled holds the queries times the scale; key, value: key
    heads × n × width. The probabilities are n²/2 numbers a head for a causal row.
    """
    _, n, group, _ = scaled.shape
    key_t = key.transpose(1, 2)
    above = torch.full((BLOCK, BLOCK), float("-inf"), dtype=scaled.dtype).triu_(1)[:, None]
    probabilities = []
    for a, b, seen in _blocks(n, causal):
        scores = torch.bmm(scaled[:, a:b].flatten(1, 2), key_t[:, :, :seen])
        if causal:
            scores.unflatten(1, (-1, group))[..., a:].add_(above[: b - a, :, : b - a])
        block = scores.softmax(-1)
        probabilities.append(block)
        torch.bmm(block, value[:, :seen], out=out[:, a:b].flatten(1, 2))
    return probabilities


def row_backward(
    grad: Tensor,
    scaled: Tensor,
    key: Tensor,
    value: Tensor,
    probabilities: Sequence[Tensor],
    causal: bool,
    out: tuple[Tensor, Tensor, Tensor],
) -> None:
    """The gradients of ``scaled``, ``key`` and ``value`` of ``row_forward`` into ``out``."""
    grad_query, grad_key, grad_value = out
    value_t = value.transpose(1, 2)
    grad_key.zero_()
    grad_value.zero_()
    for block, (a, b, seen) in zip(probabilities, _blocks(scaled.shape[1], causal), strict=True):
        grad_block = grad[:, a:b].flatten(1, 2)
        grad_value[:, :seen].baddbmm_(block.transpose(1, 2), grad_block)
        grad_probability = torch.bmm(grad_block, value_t[:, :, :seen])
        grad_scores = torch._softmax_backward_data(grad_probability, block, -1, block.dtype)
        torch.bmm(grad_scores, key[:, :seen], out=grad_query[:, a:b].flatten(1, 2))
        grad_key[:, :seen].baddbmm_(grad_scores.transpose(1, 2), scaled[:, a:b].flatten(1, 2))


class _RowAttention(torch.autograd.Function):
    """softmax(scale · Q·Kᵀ)·V of one row; query: key heads × n × group × width."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool
    ) -> Tensor:
        scaled = (query * scale).contiguous()
        out = torch.empty_like(scaled)
        probabilities = row_forward(scaled, key, value, causal, out)
        ctx.save_for_backward(scaled, key, value, *probabilities)
        ctx.scale, ctx.causal = scale, causal
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scaled, key, value, *probabilities = ctx.saved_tensors
        plain = torch.contiguous_format
        found = (
            torch.empty_like(scaled),
            torch.empty_like(key, memory_format=plain),
            torch.empty_like(value, memory_format=plain),
        )
        grad = gradients[0].contiguous()
        row_backward(grad, scaled, key, value, probabilities, ctx.causal, found)
        return found[0].mul_(ctx.scale), found[1], found[2], None, None


def _blocks(n: int, causal: bool) -> list[tuple[int, int, int]]:
    """(first query, end of queries, keys seen) of each block."""
    starts = range(0, n, BLOCK)
    return [(a, min(n, a + BLOCK), min(n, a + BLOCK) if causal else n) for a in starts]


AttentionInterface.register(NAME, packed_attention)
AttentionInterface.register(PADDED, padded_attention)
