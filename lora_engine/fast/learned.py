"""Padded rows, with the output head and the loss only where something is learned.

Reason: where rows cannot be packed (with NEFTune, beyond a sliding window), the full logits are
still most of the memory, and a good part of the time where much is padding or question.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from lora_engine.batches import Example, collate
from lora_engine.data.examples import IGNORED
from lora_engine.fast.head_loss import head_loss
from lora_engine.loss import PaddedPath


class LearnedPath(PaddedPath):
    """As ``PaddedPath``, but from the hidden states at learned positions; for frozen heads that
    are no more than a linear layer."""

    def loss_sum(self, examples: list[Example]) -> Tensor:
        """See ``LossPath``."""
        batch = collate(examples, self._pad_id, torch.device("cpu"))
        labels = F.pad(batch.labels[:, 1:], (0, 1), value=IGNORED).flatten()
        learned = (labels != IGNORED).nonzero()[:, 0]  # found here, as a GPU would be waited for
        # These go before the card is set to work, or their copies would wait for it.
        places, targets = learned.to(self._device), labels[learned].to(self._device)
        hidden = self._model.base_model(
            input_ids=batch.input_ids.to(self._device),
            attention_mask=batch.attention_mask.to(self._device),
            use_cache=False,
        ).last_hidden_state
        states = hidden.flatten(0, 1).index_select(0, places)
        head = self._model.get_output_embeddings()
        smoothing = self._label_smoothing if self._model.training else 0.0
        return head_loss(states, head.weight, getattr(head, "bias", None), targets, smoothing)
