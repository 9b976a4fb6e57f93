"""What a classifier thinks of a text, with and without adapters."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from lora_engine.adapter import Adapter
from lora_engine.batches import Example
from lora_engine.class_loss import PaddedClasses
from lora_engine.config import Quantization
from lora_engine.data.classes import Reader
from lora_engine.errors import ModelError
from lora_engine.fast.onednn import quicken
from lora_engine.folders import most_positions, read_config
from lora_engine.lora.switch import Switchboard
from lora_engine.model import dtype_for_answers, load_tokenizer, load_with_missing, padding_id

MOST_TOKENS = 2048
"""Of all texts that go through the model together."""
LONGEST_TEXT = 512
"""Tokens of a text, where the adapter does not say how long its rows were."""


@dataclass(frozen=True)
class Head:
    """The head that is put on a base model: its labels, and the seed that it starts from.

    A base model for classification is the model with this head before any training, so that its
    answers are the same each time, though they mean little. A head of as many labels that the
    model brings along is kept.
    """

    labels: tuple[str, ...]
    seed: int


@dataclass(frozen=True)
class Question:
    """A text, or a pair, and who judges it."""

    text: str
    text_pair: str = ""
    adapter: Adapter | None = None
    """None is the base model."""
    strength: float = 1.0


class Judge:
    """A base model in memory that sorts texts with and without adapters."""

    def __init__(
        self, folder: Path, head: Head, device: torch.device, quantization: Quantization = "none"
    ) -> None:
        self.labels = head.labels
        self._config = read_config(folder)
        self._tokenizer = load_tokenizer(folder)
        pad_id = padding_id(self._tokenizer)
        dtype = dtype_for_answers(device)
        self._model = load_classifier(folder, device, dtype, head, pad_id, quantization)
        quicken(self._model)
        self._switchboard = Switchboard(self._model)
        self._path = PaddedClasses(self._model, pad_id, batch_size=1)

    def probabilities(self, questions: Sequence[Question]) -> list[list[float]]:
        """The probability of each label, a row a question.

        Those of one length go through the model together, and never with padding: DeBERTa's layers
        also read what all rows share.

        Raises:
            AdapterError: an adapter does not fit the base model.
        """
        lengths = [longest_text(each.adapter) for each in questions if each.adapter]
        longest = min(max(lengths, default=LONGEST_TEXT), most_positions(self._config))
        reader = Reader(self._tokenizer, longest, with_types=reads_types(self._config))
        readings = reader([(each.text, each.text_pair) for each in questions])
        types = ("token_type_ids",) if reader.with_types else ()
        examples = [
            {"input_ids": reading.ids or [0]} | dict.fromkeys(types, reading.types or [0])
            for reading in readings
        ]
        found: list[list[float]] = [[]] * len(questions)
        with torch.inference_mode():
            for places in self._batches(questions, examples):
                asked = [(questions[place].adapter, questions[place].strength) for place in places]
                with self._switchboard.routed(asked):
                    logits = self._path.logits([examples[place] for place in places])
                for place, thought in zip(places, logits.softmax(-1).tolist(), strict=True):
                    found[place] = thought
        return found

    def _batches(
        self, questions: Sequence[Question], examples: Sequence[Example]
    ) -> Iterator[list[int]]:
        """Places of questions that have one length and that the switchboard takes together."""
        alike: dict[int, list[int]] = {}
        for place, example in enumerate(examples):
            alike.setdefault(len(example["input_ids"]), []).append(place)
        for length, places in alike.items():
            for share in self._switchboard.shares([questions[place].adapter for place in places]):
                at_once = max(1, MOST_TOKENS // length)
                for start in range(0, len(share), at_once):
                    yield [places[each] for each in share[start : start + at_once]]


def load_classifier(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    head: Head,
    pad_id: int,
    quantization: Quantization = "none",
) -> PreTrainedModel:
    """The model in ``folder`` with ``head``, frozen, in evaluation mode.

    What the folder has no weights for is drawn as the family draws it: weights from a normal of
    ``initializer_range``, biases zero. Raises ModelError.
    """
    with _quietly():
        model, missing = load_with_missing(
            folder,
            device,
            dtype,
            quantization,
            task="classification",
            num_labels=len(head.labels),
            id2label=dict(enumerate(head.labels)),
            label2id={label: number for number, label in enumerate(head.labels)},
            pad_token_id=pad_id,
            problem_type="single_label_classification",
            ignore_mismatched_sizes=True,
        )
    generator = torch.Generator().manual_seed(head.seed)
    deviation = float(getattr(model.config, "initializer_range", None) or 0.02)
    with torch.no_grad():
        for name in sorted(missing):
            parameter = model.get_parameter(name)
            if parameter.dim() > 1:
                drawn = torch.randn(parameter.shape, generator=generator) * deviation
                parameter.copy_(drawn)
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    return model


def head_of(adapter: Adapter, folder: Path) -> Head:
    """The head that ``adapter`` was trained with; ``folder`` is its base model's.

    An adapter from elsewhere has no names for its labels; the base model's are taken where it
    has as many, else numbers.
    """
    labels, seed = adapter.settings.labels, adapter.settings.trained_with("seed", 0)
    if labels:
        return Head(labels, seed)
    count = _outputs(adapter)
    named: dict[str, str] = read_config(folder).get("id2label") or {}
    if len(named) == count:
        return Head(tuple(named[key] for key in sorted(named, key=int)), seed)
    return Head(tuple(f"LABEL_{number}" for number in range(count)), seed)


def own_head(folder: Path) -> Head:
    """The head that the model in ``folder`` brings along.

    Raises:
        ModelError: it has none.
    """
    config = read_config(folder)
    named: dict[str, str] = config.get("id2label") or {}
    trained = any("SequenceClassification" in str(a) for a in config.get("architectures") or ())
    if not trained or not named:
        raise ModelError(
            "This model knows no labels yet; choose an adapter that was trained on it."
        )
    return Head(tuple(named[key] for key in sorted(named, key=int)), seed=0)


def longest_text(adapter: Adapter) -> int:
    """The most tokens of a text that ``adapter`` was trained with."""
    return adapter.settings.trained_with("max_length", LONGEST_TEXT)


def split_pair(prompt: str) -> tuple[str, str]:
    """The text, and the second text behind a tab where there is one."""
    text, _, pair = prompt.partition("\t")
    return text.strip(), pair.strip()


def reads_types(config: dict[str, Any]) -> bool:
    """Whether a model asks which text of a pair each token belongs to."""
    return int(config.get("type_vocab_size") or 0) > 1


def _outputs(adapter: Adapter) -> int:
    """How many labels an adapter's head has: the last layer is its narrowest."""
    saved = set(adapter.lora.modules_to_save or ())
    rows = [
        tensor.shape[0]
        for name, tensor in adapter.tensors.items()
        if tensor.dim() == 2 and ".lora_" not in name and saved & set(name.split("."))
    ]
    return min(rows, default=2)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the library's remark that the head has no weights yet."""
    logger = logging.getLogger("transformers")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
