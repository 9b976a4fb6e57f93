"""A decoder layer of the Llama kind as one autograd function over packed rows.

Reason: taken apart, a layer's norms, rotations, gates, low-rank pairs and sums are a hundred small
operations forward and two hundred backward, which on a CPU cost a third of the time, and each
keeps its input. As one function it keeps what cannot be had again cheaply, shares one low-rank
product among the modules that read the same input (q, k, v; gate, up), and adds every gradient
into one buffer by the matrix product itself (benchmarks/NOTES.md).
"""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import SiLUActivation

from lora_engine.fast.attention import row_backward, row_forward
from lora_engine.fast.lower import Pack
from lora_engine.fast.norm import Norm
from lora_engine.fast.pairs import Group

LAYERS = tuple(f"{family}DecoderLayer" for family in ("Llama", "Mistral", "Qwen2", "Qwen3"))
"""Families whose layer is just this; others differ in a norm, a scale or an order."""

KEPT = 512
"""Longest row whose attention probabilities, n²/2 a head, are kept for the backward pass; those of
longer ones are made again."""


@dataclass(frozen=True)
class Parts:
    """The frozen parts of a layer, and where the trained pairs are among its modules."""

    key_heads: int
    width: int
    """Of a head."""
    scale: float
    """Of the attention's scores."""
    before: Norm
    after: Norm
    each_head: tuple[Norm, Norm] | None
    """Of the queries and of the keys, before they are turned; None in most families."""
    attend: Group
    """q, k, v."""
    gather: Group
    """o."""
    widen: Group
    """gate, up."""
    narrow: Group
    """down."""

    @property
    def groups(self) -> tuple[Group, Group, Group, Group]:
        """In the order in which their pairs are given to the function."""
        return self.attend, self.gather, self.widen, self.narrow


def layer_forward(
    parts: Parts,
    x: Tensor,
    turn: tuple[Tensor, Tensor],
    borders: list[int],
    dropping: torch.Generator | None,
) -> Tensor:
    """x: n × width → n × width. ``turn``: the rotary cosines and sines, n × width of a head;
    ``borders``: 0 and the end of each row; ``dropping`` draws the inputs that the low-rank paths
    drop, None drops none."""
    pairs = [tensor for group in parts.groups for pair in group.pairs for tensor in pair.tensors]
    out: Tensor = _Layer.apply(  # type: ignore[no-untyped-call]
        parts, x, *turn, borders, dropping, *pairs
    )
    return out


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        parts: Parts,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        borders: list[int],
        dropping: torch.Generator | None,
        *_: Tensor,
    ) -> Tensor:
        normed, inverse = parts.before.forward(x)
        (q, k, v), attend = parts.attend.forward(normed, dropping)
        apart: tuple[Tensor, ...] = ()
        if parts.each_head:
            raw = _heads(q, parts), _heads(k, parts)
            (q, inverse_q), (k, inverse_k) = map(Norm.forward, parts.each_head, raw)
            q, k = q.view(len(x), -1), k.view(len(x), -1)
            apart = *raw, inverse_q, inverse_k
        query = _rotated(q, cos * parts.scale, sin * parts.scale, parts)
        key = _rotated(k, cos, sin, parts)
        value = _by_head(v, parts)
        seen = torch.empty_like(query)
        rows = []
        for a, b in pairwise(borders):
            row = query[:, a:b], key[:, a:b, 0], value[:, a:b, 0]
            kept = row_forward(*row, True, out=seen[:, a:b])
            rows.append(kept if b - a <= KEPT else [])
        mixed = _by_token(seen)
        (gathered,), gather = parts.gather.forward(mixed, dropping)
        middle = gathered.add_(x)
        normed, inverse2 = parts.after.forward(middle)
        (gate, up), widen = parts.widen.forward(normed, dropping)
        (out,), narrow = parts.narrow.forward(F.silu(gate).mul_(up), dropping)
        ctx.save_for_backward(
            *(x, cos, sin, inverse, query, key, value, middle, inverse2, gate, up),
            *apart,
            *([mixed] if parts.gather.pairs else []),  # only a pair asks for its input again
            *(tensor for kept in (attend, gather, widen, narrow) for tensor in kept),
            *(block for kept in rows for block in kept),
        )
        ctx.parts, ctx.borders, ctx.dropping = parts, borders, dropping is not None
        ctx.row_blocks = [len(kept) for kept in rows]
        return out.add_(middle)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        parts: Parts = ctx.parts
        grad = gradients[0]
        saved = list(ctx.saved_tensors)
        x, cos, sin, inverse, query, key, value, middle, inverse2, gate, up = saved[:11]
        kept = saved[11:]
        apart = [kept.pop(0) for _ in range(4 if parts.each_head else 0)]
        mixed = kept.pop(0) if parts.gather.pairs else None
        attend, gather, widen, narrow = (
            tuple(kept.pop(0) for _ in range(group.kept(ctx.dropping))) for group in parts.groups
        )
        activated = F.silu(gate)
        wide = activated * up if parts.narrow.pairs else None
        grad_act, pairs_narrow = parts.narrow.backward([grad], wide, narrow)
        grad_up = activated.mul_(grad_act)
        grad_gate = torch.ops.aten.silu_backward(grad_act.mul_(up), gate)
        normed = parts.after.again(middle, inverse2) if parts.widen.pairs else None
        grad_normed, pairs_widen = parts.widen.backward([grad_gate, grad_up], normed, widen)
        grad = grad + parts.after.backward(grad_normed, middle, inverse2)
        grad_mixed, pairs_gather = parts.gather.backward([grad], mixed, gather)
        inside = _by_head(grad_mixed, parts)
        grad_query, grad_key = torch.empty_like(query), torch.empty_like(key)
        grad_value = torch.empty_like(value)
        for (a, b), blocks in zip(pairwise(ctx.borders), ctx.row_blocks, strict=True):
            row = query[:, a:b], key[:, a:b, 0], value[:, a:b, 0]
            out = grad_query[:, a:b], grad_key[:, a:b, 0], grad_value[:, a:b, 0]
            probabilities = [kept.pop(0) for _ in range(blocks)]
            if not blocks:  # they are made again, and what they see goes where nothing is yet
                probabilities = row_forward(*row, True, out=out[0])
            row_backward(inside[:, a:b], *row, probabilities, True, out)
        wanted = [
            _turned_back(grad_query, cos * parts.scale, sin * parts.scale),
            _turned_back(grad_key, cos, sin),
            _by_token(grad_value),
        ]
        if parts.each_head:
            back = map(
                Norm.backward,
                parts.each_head,
                (_heads(grad, parts) for grad in wanted[:2]),
                apart[:2],
                apart[2:],
            )
            wanted[:2] = (grad.view(len(x), -1) for grad in back)
        needs_x = ctx.needs_input_grad[1]
        normed = parts.before.again(x, inverse) if parts.attend.pairs else None
        grad_normed, pairs_attend = parts.attend.backward(wanted, normed, attend, needs_x)
        grad_x = grad + parts.before.backward(grad_normed, x, inverse) if needs_x else None
        pairs = (*pairs_attend, *pairs_gather, *pairs_widen, *pairs_narrow)
        return None, grad_x, None, None, None, None, *pairs


def _heads(x: Tensor, parts: Parts) -> Tensor:
    """n × heads·width → n·heads × width."""
    return x.reshape(-1, parts.width)


def _by_head(x: Tensor, parts: Parts) -> Tensor:
    """n × heads·width → key heads × n × heads that share a key × width."""
    apart: Tensor = x.unflatten(-1, (parts.key_heads, -1, parts.width))
    return apart.transpose(0, 1).contiguous()


def _by_token(x: Tensor) -> Tensor:
    """Back from ``_by_head``."""
    return x.transpose(0, 1).flatten(1)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor, parts: Parts) -> Tensor:
    """Rotary positions (Su et al. 2021, in GPT-NeoX's halves), in the shape of ``_by_head``."""
    x = x.unflatten(-1, (parts.key_heads, -1, parts.width)).transpose(0, 1)
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    cos, sin = cos[:, None], sin[:, None]
    half = parts.width // 2
    first, second = x[..., :half], x[..., half:]
    torch.mul(first, cos[..., :half], out=out[..., :half])
    out[..., :half].addcmul_(second, sin[..., :half], value=-1)
    torch.mul(second, cos[..., half:], out=out[..., half:]).addcmul_(first, sin[..., half:])
    return out


def _turned_back(grad: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The gradient of what ``_rotated`` took: its shape → n × heads·width."""
    key_heads, n, group, width = grad.shape
    out = torch.empty((n, key_heads, group, width), dtype=grad.dtype, device=grad.device)
    by_head = out.transpose(0, 1)
    cos, sin = cos[:, None], sin[:, None]
    half = width // 2
    first, second = grad[..., :half], grad[..., half:]
    torch.mul(first, cos[..., :half], out=by_head[..., :half]).addcmul_(second, sin[..., half:])
    torch.mul(second, cos[..., half:], out=by_head[..., half:])
    by_head[..., half:].addcmul_(first, sin[..., :half], value=-1)
    return out.flatten(1)


def fuse(model: nn.Module) -> int:
    """Let the layers of ``model`` whose every part is known take packed rows as one function.

    Gives how many there are. Without row borders a layer does what it did before.
    """
    fused = 0
    for layer in list(model.modules()):
        if type(layer).__name__ in LAYERS and (parts := parts_of(layer)) is not None:
            plain = type(layer).forward
            layer.forward = partial(_forward, layer, parts, fused, plain)
            fused += 1
    return fused


def unfuse(model: nn.Module) -> None:
    """Undo ``fuse``."""
    for layer in model.modules():
        if type(layer).__name__ in LAYERS:
            layer.__dict__.pop("forward", None)


def parts_of(layer: Any) -> Parts | None:
    """The parts of a layer of the Llama kind, or None where something in it is otherwise."""
    attention, mlp = layer.self_attn, layer.mlp
    groups = [
        Group.of([attention.q_proj, attention.k_proj, attention.v_proj]),
        Group.of([attention.o_proj]),
        Group.of([mlp.gate_proj, mlp.up_proj]),
        Group.of([mlp.down_proj]),
    ]
    norms = [layer.input_layernorm, layer.post_attention_layernorm]
    if hasattr(attention, "q_norm"):
        norms += [attention.q_norm, attention.k_norm]
    known = [group for group in groups if group is not None]
    if (
        len(known) < len(groups)
        or not isinstance(mlp.act_fn, nn.SiLU | SiLUActivation)
        or attention.attention_dropout
        or any(norm.weight.requires_grad for norm in norms)
    ):
        return None
    before, after, *each_head = (Norm(norm.weight, norm.variance_epsilon) for norm in norms)
    return Parts(
        attention.config.num_key_value_heads,
        attention.head_dim,
        float(attention.scaling),
        before,
        after,
        (each_head[0], each_head[1]) if each_head else None,
        *known,
    )


def _forward(
    layer: nn.Module,
    parts: Parts,
    number: int,
    plain: Any,
    hidden_states: Tensor,
    *args: Any,
    **options: Any,
) -> Any:
    """The layer's forward: one function where rows are packed, else its own."""
    borders = options.get("cu_seq_lens_q")
    if borders is None or len(hidden_states) != 1:
        return plain(layer, hidden_states, *args, **options)
    lower: Pack | None = options.get("lower")
    rows = hidden_states.squeeze(0)  # [0] would fill a gradient of zeros first
    x = rows if lower is None else lower.enter(number, rows, borders.tolist())
    if x is None:
        return hidden_states
    cos, sin = (part[0] for part in options["position_embeddings"])
    dropping = (options.get("dropping") or torch.default_generator) if layer.training else None
    return layer_forward(parts, x, (cos, sin), borders.tolist(), dropping)[None]
