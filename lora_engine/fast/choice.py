"""Which way to the loss a language model's run takes: the fastest that gives the plain numbers.

Measured, not assumed: a family may scale or cap its logits, or place its rows in a way that packing
does not know, and a card or a build of torch may lack a kernel.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lora_engine.batches import Example
from lora_engine.config import TrainConfig
from lora_engine.data.examples import IGNORED
from lora_engine.fast import liger
from lora_engine.fast.attention import keeps_rows_apart
from lora_engine.fast.learned import LearnedPath
from lora_engine.fast.packed import PackedPath
from lora_engine.fast.shares import trained_in
from lora_engine.fast.undo import undo
from lora_engine.fast.varlen import VarlenPath
from lora_engine.loss import LossPath, PaddedPath

log = logging.getLogger(__name__)

CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""How configs name a cap on the logits, which would hardly show in two short rows."""
WINDOWS = ("sliding_window", "sliding_window_size", "attention_chunk_size")
"""How configs name the tokens that attention reaches, if not all."""


def choose_path(
    model: Any, config: TrainConfig, pad_id: int, device: torch.device, longest: int
) -> LossPath:
    """Packed rows where they are wanted and fit, else padded ones with the head at learned
    positions, else the plain path. ``longest``: tokens of the longest row to come."""
    how = model, pad_id, config.batch_size, device, config.label_smoothing
    plain = PaddedPath(*how)
    head = model.get_output_embeddings()
    trains_head = any(parameter.requires_grad for parameter in head.parameters())
    text_config = model.config.get_text_config()
    is_capped = any(getattr(text_config, name, None) for name in CAPS)
    if not config.fast or type(head) is not torch.nn.Linear or trains_head or is_capped:
        return plain
    reach = min((w for name in WINDOWS if (w := getattr(text_config, name, None))), default=longest)
    noisy = config.neftune_noise_alpha is not None  # its size depends on the padded length
    ways: list[Callable[[], LossPath]] = [partial(LearnedPath, *how)]
    if not noisy and longest <= reach and keeps_rows_apart(model):
        if device.type == "cpu":
            recomputes = config.gradient_checkpointing == "on"
            ways.insert(0, partial(PackedPath, model, recomputes, config.label_smoothing))
        else:
            ways.insert(0, partial(VarlenPath, *how))
            if liger.is_installed():
                ways.insert(0, partial(liger.LigerPath, *how))
    # a CPU's backward passes are this project's own, and tested
    return first_that_fits(plain, model, ways, with_gradients=device.type != "cpu")


def first_that_fits(
    plain: PaddedPath,
    model: Any,
    ways: Sequence[Callable[[], LossPath]],
    *,
    with_gradients: bool,
) -> LossPath:
    """The first of ``ways`` to give the loss of ``plain`` on two short rows (and gradients as
    large, ``with_gradients``); ``plain`` where none does. What the others have changed in
    ``model`` is undone.
    """
    rows = _probe(model.config.get_text_config().vocab_size)
    before = model.config._attn_implementation
    was_training = model.training
    dtype = next(model.parameters()).dtype
    expected: Tensor | None = None
    try:
        for way in ways:
            model.eval()
            try:
                if expected is None:
                    expected = _taken(plain, model, rows, with_gradients)
                path = way()
                found = _taken(path, model, rows, with_gradients)
                model.train()
                with torch.no_grad(), torch.random.fork_rng():
                    path.loss_sum(rows)  # raises where the family drops attention out in training
            except Exception as error:  # noqa: BLE001 - whatever a model raises, it does not fit
                log.info("a faster way does not fit %s: %r", type(model).__name__, error)
            else:
                if agree(found, expected, dtype):
                    log.info("%s gives the plain numbers and is taken", type(path).__name__)
                    return path
                log.info("%s gives %s, padded rows %s", type(path).__name__, found, expected)
            undo(model, before)
    finally:
        model.train(was_training)
    return plain


def agree(found: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    """Whether a loss and its gradients' norms differ by no more than rounding."""
    tolerance = 1e-4 if dtype == torch.float32 else 2e-2
    close = (found - expected).abs() <= tolerance * expected.abs()
    apart = torch.linalg.vector_norm(found[1:] - expected[1:])
    small = apart <= 3 * tolerance * torch.linalg.vector_norm(expected[1:])
    return bool(close[0] & small)


def _taken(path: LossPath, model: Any, rows: list[Example], with_gradients: bool) -> Tensor:
    """The loss of ``rows``, and the norm of each trained tensor's gradient, in float32."""
    with torch.set_grad_enabled(with_gradients):
        loss = path.loss_sum(rows)
    taken = [loss.detach()]
    if with_gradients:
        found = torch.autograd.grad(loss, trained_in(model), allow_unused=True)
        taken += [loss.new_zeros(()) if one is None else one.norm() for one in found]
    return torch.stack([number.float().cpu() for number in taken])


def _probe(words: int) -> list[Example]:
    generator = torch.Generator().manual_seed(0)
    rows = []
    for length in (24, 17):
        ids = torch.randint(0, words, (length,), generator=generator).tolist()
        rows.append({"input_ids": ids, "labels": [IGNORED] * 5 + ids[5:]})
    return rows
