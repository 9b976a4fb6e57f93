"""The loss of an encoder-decoder: what is written, given what is read."""

from collections.abc import Iterator
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from lora_engine.batches import Example, pad, read_tokens
from lora_engine.data.examples import IGNORED


class PaddedPairs:
    """Rows of like length together, both sides padded to the longest."""

    def __init__(
        self, model: Any, pad_id: int, batch_size: int, label_smoothing: float = 0.0
    ) -> None:
        """``label_smoothing``: share of the target that is spread over all tokens in training."""
        self._model = model
        self._pad_id = pad_id
        self._batch_size = batch_size
        self._label_smoothing = label_smoothing

    def learned(self, examples: list[Example]) -> float:
        """See ``LossPath``: every token that is written, the end token among them."""
        return sum(len(example["labels"]) for example in examples)

    def tokens(self, examples: list[Example]) -> int:
        """See ``LossPath``."""
        return read_tokens(examples) + sum(len(example["labels"]) for example in examples)

    def batches(self, examples: list[Example]) -> Iterator[list[Example]]:
        """``batch_size`` rows at a time, the shortest first."""
        examples = sorted(examples, key=lambda e: (len(e["input_ids"]), len(e["labels"])))
        for start in range(0, len(examples), self._batch_size):
            yield examples[start : start + self._batch_size]

    def loss_sum(self, examples: list[Example]) -> Tensor:
        """See ``LossPath``; the decoder reads the labels one place to the right."""
        device = self._model.device
        ids = [example["input_ids"] for example in examples]
        labels = pad([example["labels"] for example in examples], IGNORED).to(device)
        logits = self._model(
            input_ids=pad(ids, self._pad_id).to(device),
            attention_mask=pad([[1] * len(row) for row in ids], 0).to(device),
            decoder_input_ids=self._shifted(labels),
            use_cache=False,
        ).logits
        return F.cross_entropy(
            logits.flatten(0, 1).float(),
            labels.flatten(),
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=self._label_smoothing if self._model.training else 0.0,
        )

    def _shifted(self, labels: Tensor) -> Tensor:
        """The labels one place to the right, as the family does it."""
        if prepare := getattr(self._model, "prepare_decoder_input_ids_from_labels", None):
            return prepare(labels=labels)  # type: ignore[no-any-return]
        start = self._model.config.decoder_start_token_id  # M2M-100 and NLLB, as their forward does
        shifted = F.pad(labels[:, :-1], (1, 0), value=start)
        return shifted.masked_fill(shifted == IGNORED, self._pad_id)
