"""Padded rows, with the output head and the loss only where something is learned.

Reason: where rows cannot be packed (on a GPU, with NEFTune, beyond a sliding window), the full
logits are still most of the memory, and a good part of the time where much is padding or question.
"""

import logging
from typing import Any

import torch
from torch import Tensor

from lora_engine.batches import IGNORED, Example, collate
from lora_engine.fast.head_loss import head_loss
from lora_engine.loss import PaddedPath

log = logging.getLogger(__name__)


class LearnedPath(PaddedPath):
    """As ``PaddedPath``, but from the hidden states at learned positions; for frozen heads that
    are no more than a linear layer."""

    def loss_sum(self, examples: list[Example]) -> Tensor:
        """See ``LossPath``."""
        batch = collate(examples, self._pad_id, self._device)
        hidden = self._model.base_model(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False
        ).last_hidden_state
        labels = batch.labels[:, 1:]
        learned = labels != IGNORED
        head = self._model.get_output_embeddings()
        smoothing = self._label_smoothing if self._model.training else 0.0
        states, bias = hidden[:, :-1][learned], getattr(head, "bias", None)
        return head_loss(states, head.weight, bias, labels[learned], smoothing)


@torch.no_grad()
def choose_learned(plain: PaddedPath, model: Any, rows: list[Example]) -> PaddedPath:
    """This path where it gives the loss of ``plain`` on ``rows``, which a family that scales or
    caps its logits does not; else ``plain``. The model is in evaluation mode."""
    path = LearnedPath.__new__(LearnedPath)
    path.__dict__.update(plain.__dict__)
    try:
        expected, found = float(plain.loss_sum(rows)), float(path.loss_sum(rows))
    except Exception as error:  # noqa: BLE001 - whatever a model raises, this does not fit it
        log.info("the head alone does not fit %s: %r", type(model).__name__, error)
        return plain
    return path if agree(found, expected, next(model.parameters()).dtype) else plain


def agree(found: float, expected: float, dtype: torch.dtype) -> bool:
    """Whether two losses differ by no more than rounding."""
    tolerance = 1e-4 if dtype == torch.float32 else 2e-2
    return abs(found - expected) <= tolerance * abs(expected)
