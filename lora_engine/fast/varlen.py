"""Rows packed end to end where attention has a kernel for rows of many lengths: on GPUs.

Reason: a padded batch of real rows is about half padding, which costs a GPU as much as tokens do.
Packed, every layer sees real tokens only, and one kernel attends within all rows at once (Dao
2023, https://arxiv.org/abs/2307.08691). The layers stay those of transformers: their small
operations cost a GPU little, and each of its batches is large enough by itself.
"""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

from lora_engine.batches import Example
from lora_engine.fast.attention import VARLEN, is_causal
from lora_engine.fast.one_row import one_row_loss
from lora_engine.loss import PaddedPath

CAUSAL = (-1, 0)
"""Keys that a query sees before and after itself; -1 is all of them."""


class VarlenPath(PaddedPath):
    """The batches of ``PaddedPath``, each as one long row; for devices other than a CPU."""

    def __init__(self, model: Any, *how: Any) -> None:
        """As ``PaddedPath``; from here on the model takes packed rows."""
        super().__init__(model, *how)
        model.set_attn_implementation(VARLEN)

    def loss_sum(self, examples: list[Example]) -> Tensor:
        """See ``LossPath``."""
        smoothing = self._label_smoothing if self._model.training else 0.0
        return one_row_loss(self._model, examples, smoothing)


def varlen_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[Tensor, None]:
    """Causal attention within the rows that ``cu_seq_lens_q`` borders; transformers' interface.

    query: 1 × heads × tokens × width; key, value: 1 × key heads × tokens × width; the result is
    1 × tokens × heads × width. No row may be longer than the model's attention window. The kernel
    takes 16-bit numbers on CUDA; others go row by row through torch's own attention.

    Raises:
        NotImplementedError: a mask, dropout or soft cap, no borders, or attention that sees ahead.
    """
    if attention_mask is not None or dropout or options.get("softcap") or query.shape[0] != 1:
        raise NotImplementedError("attention over packed rows knows only its plain causal form")
    if not is_causal(module, options):
        raise NotImplementedError("attention over packed rows never sees ahead")
    if "row_ends" not in options:
        raise NotImplementedError("attention over packed rows must be told where they end")
    grouped = key.shape[1] != query.shape[1]
    if has_kernel(query):
        borders, longest = options["cu_seq_lens_q"], options["max_length_q"]
        q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
        return _kernel(q, k, v, borders, longest, scaling, grouped)[None], None
    if grouped:  # torch's kernel that keeps no probabilities wants a key head for each query head
        times = query.shape[1] // key.shape[1]
        key, value = (states.repeat_interleave(times, dim=1) for states in (key, value))
    rows = []
    for a, b in pairwise(options["row_ends"]):
        q, k, v = (states[:, :, a:b] for states in (query, key, value))
        rows.append(F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling))
    return torch.cat(rows, dim=2).transpose(1, 2), None


def has_kernel(states: Tensor) -> bool:
    """Whether ``varlen_attn`` is made for such numbers on such a device."""
    return states.is_cuda and states.dtype in (torch.bfloat16, torch.float16)


def _kernel(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    borders: Tensor,
    longest: int,
    scale: float | None,
    grouped: bool,
) -> Tensor:
    """query: tokens × heads × width; key, value: tokens × key heads × width; like ``query``."""
    found = varlen_attn(
        query,
        key,
        value,
        *(borders, borders),
        *(longest, longest),
        scale=scale,
        window_size=CAUSAL,
        enable_gqa=grouped,
    )
    assert isinstance(found, Tensor)  # a pair only where more is asked for
    return found


AttentionInterface.register(VARLEN, varlen_attention)
