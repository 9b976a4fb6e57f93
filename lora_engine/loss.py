"""The loss of a batch of rows, and the plain way to it: padded rows and full logits."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from lora_engine.batches import Example, collate, learned_tokens, read_tokens
from lora_engine.data.examples import IGNORED


class LossPath(Protocol):
    """A way from rows to their loss; every way of a task gives the same numbers."""

    def learned(self, examples: list[Example]) -> float:
        """How much is learned from ``examples``: what their loss is divided by."""

    def tokens(self, examples: list[Example]) -> int:
        """How many tokens the model reads and writes for ``examples``, padding left aside."""

    def batches(self, examples: list[Example]) -> Iterator[list[Example]]:
        """Cut the rows of an update into batches that one forward pass takes."""

    def loss_sum(self, examples: list[Example]) -> Tensor:
        """Cross-entropy, in nats, summed over what is learned from ``examples``."""


@runtime_checkable
class TakesUpdates(Protocol):
    """A way that takes an update's batches in an order of its own, or several at once."""

    def backward(self, examples: list[Example]) -> float:
        """See the function of this name."""

    def total_loss(self, examples: list[Example]) -> float:
        """Cross-entropy, in nats, summed over what is learned, without gradients."""


def backward(path: LossPath, examples: list[Example]) -> float:
    """Add the gradients of the mean loss of ``examples`` to what is trained; gives that loss."""
    if isinstance(path, TakesUpdates):
        return path.backward(examples)
    learned = path.learned(examples)
    total: Tensor | float = 0.0
    for batch in path.batches(examples):
        loss = path.loss_sum(batch) / learned
        loss.backward()
        total = total + loss.detach()  # read once: a GPU would be waited for at each batch
    return float(total)


class PaddedPath:
    """The reference for language models: rows padded to the longest, full logits in float32.

    The token at position t is predicted from the positions before t.
    """

    def __init__(
        self,
        model: Any,
        pad_id: int,
        batch_size: int,
        device: torch.device,
        label_smoothing: float = 0.0,
    ) -> None:
        """``label_smoothing``: share of the target that is spread over all tokens in training."""
        self._label_smoothing = label_smoothing
        self._model = model
        self._pad_id = pad_id
        self._batch_size = batch_size
        self._device = device

    def learned(self, examples: list[Example]) -> float:
        """See ``LossPath``: tokens."""
        return learned_tokens(examples)

    def tokens(self, examples: list[Example]) -> int:
        """See ``LossPath``."""
        return read_tokens(examples)

    def batches(self, examples: list[Example]) -> Iterator[list[Example]]:
        """``batch_size`` rows at a time."""
        for start in range(0, len(examples), self._batch_size):
            yield examples[start : start + self._batch_size]

    def loss_sum(self, examples: list[Example]) -> Tensor:
        """See ``LossPath``."""
        batch = collate(examples, self._pad_id, self._device)
        logits = self._model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        return F.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(),
            batch.labels[:, 1:].flatten(),
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=self._label_smoothing if self._model.training else 0.0,
        )


@torch.no_grad()
def mean_loss(path: LossPath, updates: Iterable[list[Example]]) -> float:
    """Mean cross-entropy, in nats, of all that is learned from all rows."""
    total, learned = 0.0, 0.0
    for examples in updates:
        learned += path.learned(examples)
        if isinstance(path, TakesUpdates):
            total += path.total_loss(examples)
        else:
            total += sum(float(path.loss_sum(batch)) for batch in path.batches(examples))
    return total / learned
