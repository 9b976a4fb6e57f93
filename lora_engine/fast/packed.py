"""Rows packed end to end instead of padded, with the loss only where something is learned.

Reason: a padded batch of real rows is about half padding, and its full logits are most of the
memory. Packed, the linear layers see only real tokens, in pieces long enough for the matrix
units; positions restart at every row and attention never crosses one.
"""

import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lora_engine.batches import IGNORED, Example, learned_tokens, read_tokens
from lora_engine.config import TrainConfig
from lora_engine.fast import attention
from lora_engine.fast.head_loss import head_loss
from lora_engine.fast.layer import fuse, unfuse
from lora_engine.loss import LossPath, PaddedPath

log = logging.getLogger(__name__)

PACK_TOKENS = 512
"""Tokens a pack (one longer row is a pack of its own): the matrix units are busy from here on."""


class PackedPath:
    """One long row made of whole rows; for CPUs and models of transformers' attention interface."""

    def __init__(self, model: Any, device: torch.device) -> None:
        self._model = model
        self._device = device
        self._head = model.get_output_embeddings()
        model.set_attn_implementation(attention.NAME)
        fuse(model)

    def learned(self, examples: list[Example]) -> float:
        """See ``LossPath``: tokens."""
        return learned_tokens(examples)

    def tokens(self, examples: list[Example]) -> int:
        """See ``LossPath``."""
        return read_tokens(examples)

    def batches(self, examples: list[Example]) -> Iterator[list[Example]]:
        """Fill packs of PACK_TOKENS with the longest rows first."""
        packs: list[list[Example]] = []
        room: list[int] = []
        for example in sorted(examples, key=lambda e: len(e["input_ids"]), reverse=True):
            length = len(example["input_ids"])
            fitting = next((i for i, left in enumerate(room) if left >= length), None)
            if fitting is None:
                packs.append([example])
                room.append(PACK_TOKENS - length)
            else:
                packs[fitting].append(example)
                room[fitting] -= length
        yield from packs

    def loss_sum(self, examples: list[Example]) -> Tensor:
        """See ``LossPath``."""
        lengths = [len(example["input_ids"]) for example in examples]
        ids = torch.cat([torch.as_tensor(example["input_ids"]) for example in examples])
        positions = torch.cat([torch.arange(length) for length in lengths])
        # The last position of a row predicts nothing: the next row's first token is not its own.
        labels = torch.cat(
            [torch.as_tensor([*example["labels"][1:], IGNORED]) for example in examples]
        )
        borders = torch.tensor([0, *lengths]).cumsum(0).int()
        hidden = self._model.base_model(
            input_ids=ids[None].to(self._device),
            position_ids=positions[None].to(self._device),
            use_cache=False,
            cu_seq_lens_q=borders,
            cu_seq_lens_k=borders,
            max_length_q=max(lengths),
            max_length_k=max(lengths),
        ).last_hidden_state[0]
        learned = (labels != IGNORED).to(self._device)
        labels = labels.to(self._device)[learned]
        return head_loss(
            hidden[learned], self._head.weight, getattr(self._head, "bias", None), labels
        )


def choose_path(
    model: Any, config: TrainConfig, pad_id: int, device: torch.device, longest: int
) -> LossPath:
    """The packed path where it is wanted and gives this model's plain loss, else the padded one.

    Measured, not assumed: both ways are taken once over two short rows, because a family may
    scale or cap its logits, or place its rows in a way that packing does not know. ``longest``
    is the length of the longest row to come, in tokens.
    """
    plain = PaddedPath(model, pad_id, config.batch_size, device, config.label_smoothing)
    head = model.get_output_embeddings()
    unknown = (
        config.label_smoothing > 0
        or config.neftune_noise_alpha is not None  # its size depends on the padded length
        or type(head) is not torch.nn.Linear
        or any(parameter.requires_grad for parameter in head.parameters())
    )
    text_config = model.config.get_text_config()
    window = getattr(text_config, "sliding_window", None)
    if not config.fast or unknown or device.type != "cpu" or (window and longest > window):
        return plain
    before = model.config._attn_implementation
    rows = _probe(text_config.vocab_size)
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()
            expected = float(plain.loss_sum(rows))
            packed = PackedPath(model, device)
            found = float(packed.loss_sum(rows))
            model.train()
            packed.loss_sum(rows)  # raises where the family drops attention out in training
    except Exception as error:  # noqa: BLE001 - whatever a model raises, packing does not fit it
        log.info("packed path does not fit %s: %r", type(model).__name__, error)
        found = expected = float("nan")
    model.train(was_training)
    tolerance = 1e-4 if next(model.parameters()).dtype == torch.float32 else 2e-2
    if abs(found - expected) <= tolerance * abs(expected):
        return packed
    log.info("padded path: packed loss %s, padded loss %s", found, expected)
    unfuse(model)
    model.set_attn_implementation(before)
    return plain


def _probe(words: int) -> list[Example]:
    generator = torch.Generator().manual_seed(0)
    rows = []
    for length in (24, 17):
        ids = torch.randint(0, words, (length,), generator=generator).tolist()
        rows.append({"input_ids": ids, "labels": [IGNORED] * 5 + ids[5:]})
    return rows
