"""An encoder layer of the BERT kind as one autograd function over packed rows.

Reason: the same as for the decoder's layer (``fast/layer.py``), and three of its own: dropout is
a third of the time where torch draws it, a classifier reads the first position of a row only, so
that most of the last layer need not be computed, and what is dropped comes from the pack's own
generator, which lets two packs be under way at once (benchmarks/NOTES.md).
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from transformers.activations import GELUActivation

from lora_engine.fast.dropout import keep_mask, masked, masked_
from lora_engine.fast.short_rows import Attention, Scores
from lora_engine.fast.stacked import Stacked

LAYERS = ("BertLayer", "RobertaLayer", "XLMRobertaLayer", "CamembertLayer", "ElectraLayer")
"""Families whose layer is just this."""


@dataclass(frozen=True)
class Norm:
    """Layer normalisation with a frozen weight and bias (Ba et al. 2016)."""

    weight: Tensor
    bias: Tensor
    eps: float

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x: n × width → the same, normalised, and mean and 1 / deviation of each row."""
        return torch.native_layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)

    def backward(self, grad: Tensor, x: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
        """The gradient of x, given that of the output."""
        found: Tensor = torch.ops.aten.native_layer_norm_backward(
            *(grad, x, x.shape[-1:], mean, inverse, self.weight, self.bias),
            [True, False, False],
        )[0]
        return found


@dataclass(frozen=True)
class Parts:
    """The frozen parts of a layer, and where the trained pairs are among its modules."""

    scale: float
    """Of the attention's scores."""
    attend: Stacked
    """query, key, value."""
    gather: Stacked
    """The attention's output."""
    after_attention: Norm
    widen: Stacked
    narrow: Stacked
    after: Norm
    unsure: float
    """Share of the attention's probabilities that is dropped in training."""
    hidden: tuple[float, float]
    """Share of the values that is dropped before each norm in training."""

    @property
    def stacks(self) -> tuple[Stacked, Stacked, Stacked, Stacked]:
        """In the order in which their pairs are given to the function."""
        return self.attend, self.gather, self.widen, self.narrow


@dataclass(frozen=True)
class Packed:
    """Rows that lie end to end, as every layer takes them."""

    attention: Attention
    firsts: Tensor
    """The first position of each row."""
    dropping: Generator | None
    """Draws what is dropped in training; None leaves it to torch's own generator."""

    @classmethod
    def of(
        cls,
        lengths: list[int],
        heads: int,
        filler: int,
        dtype: torch.dtype,
        dropping: Generator | None,
    ) -> Self:
        """Rows of ``lengths`` positions, and ``filler`` more that belong to none."""
        firsts = torch.tensor([0, *lengths[:-1]]).cumsum(0)
        return cls(Attention.of(lengths, heads, filler, dtype), firsts, dropping)


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        parts: Parts,
        x: Tensor,
        attention: Attention,
        firsts: Tensor | None,
        dropping: Generator | None,
        *_: Tensor,
    ) -> Tensor:
        def drawn(shape: Any, rate: float) -> Tensor | None:
            return keep_mask(tuple(shape), rate, dropping, x.dtype) if dropping and rate else None

        cut = firsts is not None
        qkv, attend = parts.attend.forward(x, dropping)
        spread = attention.spread(qkv)
        sure = drawn((sum(map(math.prod, attention.shapes(cut))),), parts.unsure)
        scores = Scores(parts.scale, sure, 1 - parts.unsure)
        mixed, shares = attention.forward(spread, scores, cut)
        gathered, gather = parts.gather.forward(mixed, dropping)
        mask1 = drawn(gathered.shape, parts.hidden[0])
        asking = x if firsts is None else x.index_select(0, firsts)
        summed1 = _added(asking, gathered, mask1, parts.hidden[0])
        middle, mean1, inverse1 = parts.after_attention.forward(summed1)
        wide, widen = parts.widen.forward(middle, dropping)
        narrowed, narrow = parts.narrow.forward(F.gelu(wide), dropping)
        mask2 = drawn(narrowed.shape, parts.hidden[1])
        summed2 = _added(middle, narrowed, mask2, parts.hidden[1])
        out, mean2, inverse2 = parts.after.forward(summed2)
        ctx.save_for_backward(
            *(spread, summed1, mean1, inverse1, wide, summed2, mean2, inverse2),
            *(mask for mask in (sure, mask1, mask2) if mask is not None),
            *(tensor for one in (attend, gather, widen, narrow) for tensor in one),
            *shares,
        )
        ctx.parts, ctx.attention, ctx.firsts = parts, attention, firsts
        ctx.dropping, ctx.positions = dropping is not None, len(x)
        ctx.masked = [mask is not None for mask in (sure, mask1, mask2)]
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        parts: Parts = ctx.parts
        attention: Attention = ctx.attention
        kept = list(ctx.saved_tensors)
        spread, summed1, mean1, inverse1, wide, summed2, mean2, inverse2 = kept[:8]
        del kept[:8]
        sure, mask1, mask2 = (kept.pop(0) if there else None for there in ctx.masked)
        attend, gather, widen, narrow = (
            tuple(kept.pop(0) for _ in range(stack.kept(ctx.dropping))) for stack in parts.stacks
        )
        shares = kept
        grad = parts.after.backward(gradients[0], summed2, mean2, inverse2)
        of_narrowed = _through(grad, mask2, parts.hidden[1])
        of_wide, pairs_narrow = parts.narrow.backward(of_narrowed, narrow)
        torch.ops.aten.gelu_backward.grad_input(of_wide, wide, grad_input=of_wide)
        of_middle, pairs_widen = parts.widen.backward(of_wide, widen, grad)
        grad = parts.after_attention.backward(of_middle, summed1, mean1, inverse1)
        of_gathered = _through(grad, mask1, parts.hidden[0])
        of_mixed, pairs_gather = parts.gather.backward(of_gathered, gather)
        scores = Scores(parts.scale, sure, 1 - parts.unsure)
        cut = ctx.firsts is not None
        of_spread = attention.backward(of_mixed, spread, scores, cut, shares)
        if cut:
            everywhere = grad.new_zeros(ctx.positions, grad.shape[1])
            grad = everywhere.index_copy_(0, ctx.firsts, grad)
        needs_x = ctx.needs_input_grad[1]
        of_qkv = attention.gather(of_spread)
        of_x, pairs_attend = parts.attend.backward(of_qkv, attend, grad, needs_x)
        pairs = (*pairs_attend, *pairs_gather, *pairs_widen, *pairs_narrow)
        return None, of_x if needs_x else None, None, None, None, *pairs


def _added(x: Tensor, more: Tensor, mask: Tensor | None, rate: float) -> Tensor:
    """x plus what is left of ``more``, which may be written to."""
    return more.add_(x) if mask is None else torch.add(x, masked_(more, mask), alpha=1 / (1 - rate))


def _through(grad: Tensor, mask: Tensor | None, rate: float) -> Tensor:
    """The gradient of ``more`` in ``_added``."""
    return grad if mask is None else masked(grad, mask).mul_(1 / (1 - rate))


def fuse(model: nn.Module) -> int:
    """Let the layers of ``model`` whose every part is known take packed rows as one function.

    Gives how many there are. Without ``packed`` among its options a layer does what it did
    before. The last layer gives rows × 1 × width, the first position of each row.
    """
    layers = [layer for layer in model.modules() if type(layer).__name__ in LAYERS]
    known = [(layer, parts) for layer in layers if (parts := parts_of(layer)) is not None]
    for layer, parts in known:
        last = layer is layers[-1]
        layer.forward = partial(_forward, layer, parts, last, type(layer).forward)
    return len(known)


def unfuse(model: nn.Module) -> None:
    """Undo ``fuse``."""
    for layer in model.modules():
        if type(layer).__name__ in LAYERS:
            layer.__dict__.pop("forward", None)


def parts_of(layer: Any) -> Parts | None:
    """The parts of a layer of the BERT kind, or None where something in it is otherwise."""
    attention, output = layer.attention.self, layer.attention.output
    norms = [output.LayerNorm, layer.output.LayerNorm]
    activation = layer.intermediate.intermediate_act_fn
    if (
        layer.is_decoder
        or type(activation) is not GELUActivation
        or activation.act is not F.gelu
        or any(parameter.requires_grad for norm in norms for parameter in norm.parameters())
    ):
        return None
    stacks = [
        Stacked.of([attention.query, attention.key, attention.value]),
        Stacked.of([output.dense]),
        Stacked.of([layer.intermediate.dense]),
        Stacked.of([layer.output.dense]),
    ]
    known = [stack for stack in stacks if stack is not None]
    if len(known) < len(stacks):
        return None
    attend, gather, widen, narrow = known
    first, second = (Norm(norm.weight, norm.bias, norm.eps) for norm in norms)
    return Parts(
        *(attention.scaling, attend, gather, first, widen, narrow, second),
        unsure=attention.dropout.p,
        hidden=(output.dropout.p, layer.output.dropout.p),
    )


def _forward(
    layer: nn.Module,
    parts: Parts,
    last: bool,
    plain: Any,
    hidden_states: Tensor,
    *args: Any,
    **options: Any,
) -> Any:
    """The layer's forward: one function where rows are packed, else its own."""
    packed: Packed | None = options.pop("packed", None)
    if packed is None:
        return plain(layer, hidden_states, *args, **options)
    dropping = (packed.dropping or torch.default_generator) if layer.training else None
    pairs = [pair for stack in parts.stacks for pair in stack.group.pairs]
    x = hidden_states.squeeze(0)  # [0] would fill a gradient of zeros first
    out: Tensor = _Layer.apply(  # type: ignore[no-untyped-call]
        *(parts, x, packed.attention, packed.firsts if last else None, dropping),
        *(tensor for pair in pairs for tensor in pair.tensors),
    )
    return out[:, None] if last else out[None]
