"""The loss of labelled texts, and the plain way to it: padded rows through the whole model."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from lora_engine import scores
from lora_engine.batches import Example, pad, read_tokens
from lora_engine.loss import LossPath

Judged = list[tuple[list[Example], Tensor]]
"""Batches of rows, each with what the model makes of it: rows × classes, float32."""


@runtime_checkable
class ClassPath(LossPath, Protocol):
    """A way from labelled texts to their loss that also tells what the model thinks."""

    def judged(self, examples: list[Example]) -> Judged:
        """All of ``examples`` in batches of any order, each with its logits, without gradients."""

    def cross_entropy(self, logits: Tensor, examples: list[Example]) -> Tensor:
        """The loss of a batch from its logits, in nats, summed over the rows."""


class PaddedClasses:
    """The reference for classifiers: rows of like length together, padded to the longest."""

    def __init__(
        self,
        model: Any,
        pad_id: int,
        batch_size: int,
        weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        """``weights``: one a class, None for 1; ``label_smoothing``: share of the target that is
        spread over all classes in training."""
        self._model = model
        self._pad_id = pad_id
        self._batch_size = batch_size
        self._weights = weights
        self._label_smoothing = label_smoothing

    def learned(self, examples: list[Example]) -> float:
        """See ``LossPath``: rows, or the sum of their classes' weights."""
        if self._weights is None:
            return len(examples)
        return sum(self._weights[example["labels"][0]] for example in examples)

    def tokens(self, examples: list[Example]) -> int:
        """See ``LossPath``."""
        return read_tokens(examples)

    def batches(self, examples: list[Example]) -> Iterator[list[Example]]:
        """``batch_size`` rows at a time, the shortest first."""
        examples = sorted(examples, key=lambda example: len(example["input_ids"]))
        for start in range(0, len(examples), self._batch_size):
            yield examples[start : start + self._batch_size]

    @torch.no_grad()
    def judged(self, examples: list[Example]) -> Judged:
        """See ``ClassPath``."""
        return [(batch, self.logits(batch)) for batch in self.batches(examples)]

    def logits(self, examples: list[Example]) -> Tensor:
        """rows × classes, float32; the rows make one batch."""
        device = self._model.device
        ids = [example["input_ids"] for example in examples]
        inputs = {
            "input_ids": pad(ids, self._pad_id).to(device),
            "attention_mask": pad([[1] * len(row) for row in ids], 0).to(device),
        }
        if "token_type_ids" in examples[0]:
            types = [example["token_type_ids"] for example in examples]
            inputs["token_type_ids"] = pad(types, 0).to(device)
        logits: Tensor = self._model(**inputs).logits
        return logits.float()

    def loss_sum(self, examples: list[Example]) -> Tensor:
        """See ``LossPath``."""
        logits = self.logits(examples)
        return self.cross_entropy(logits, examples)

    def cross_entropy(self, logits: Tensor, examples: list[Example]) -> Tensor:
        """Weighted cross-entropy, in nats, summed over the rows."""
        labels = torch.tensor([example["labels"][0] for example in examples])
        return F.cross_entropy(
            logits,
            labels.to(logits.device),
            weight=None if self._weights is None else logits.new_tensor(self._weights),
            reduction="sum",
            label_smoothing=self._label_smoothing if self._model.training else 0.0,
        )


def in_order(judged: Judged, examples: list[Example]) -> Tensor:
    """The logits of all batches as one: rows × classes, in the order of ``examples``."""
    place = {id(example): row for row, example in enumerate(examples)}
    order = torch.tensor([place[id(example)] for batch, _ in judged for example in batch])
    found = torch.cat([logits for _, logits in judged])
    return torch.empty_like(found).index_copy_(0, order.to(found.device), found)


def probabilities(path: ClassPath, examples: list[Example]) -> Tensor:
    """What a model in evaluation mode thinks of each row: rows × classes, each row sums to 1."""
    return in_order(path.judged(examples), examples).softmax(-1).cpu()


@torch.no_grad()
def loss_and_scores(
    path: ClassPath, updates: Iterable[list[Example]]
) -> tuple[float, dict[str, float]]:
    """Mean loss of all rows, as ``mean_loss``, and from the same passes accuracy and macro F1."""
    total, learned = 0.0, 0.0
    true: list[int] = []
    predicted: list[int] = []
    classes = 0
    for examples in updates:
        learned += path.learned(examples)
        for batch, logits in path.judged(examples):
            total += float(path.cross_entropy(logits, batch))
            true += [example["labels"][0] for example in batch]
            predicted += logits.argmax(-1).tolist()
            classes = logits.shape[-1]
    matrix = scores.confusion(true, predicted, classes)
    found = {"eval_accuracy": scores.accuracy(matrix), "eval_f1": scores.macro_f1(matrix)}
    return total / learned, found
