"""Classification: a text, or a pair of texts, gets one of some labels."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from transformers import PreTrainedModel

from lora_engine import scores
from lora_engine.adapter import Adapter
from lora_engine.answering import Answerer, Desk, Sorting
from lora_engine.class_loss import ClassPath, PaddedClasses, probabilities
from lora_engine.classify import (
    Head,
    Judge,
    Question,
    head_of,
    load_classifier,
    reads_types,
    split_pair,
)
from lora_engine.config import Quantization, TrainConfig
from lora_engine.confusion_picture import draw
from lora_engine.data.classes import ClassMaker, Reader
from lora_engine.data.encode import Encoded, encode
from lora_engine.data.labels import only_one, ordered
from lora_engine.data.nouns import Sample
from lora_engine.errors import DataError
from lora_engine.fast.packed_classes import choose_classes
from lora_engine.inspection import build_profile
from lora_engine.loss import LossPath
from lora_engine.profile import ModelProfile
from lora_engine.share import Share
from lora_engine.tasks.base import Tell, Trial, Words
from lora_engine.tasks.usage import usage_of

MISTAKES = 20
"""Wrong rows that are kept, the most confident ones."""
LONGEST_SHOWN = 1000
"""Characters of a text in the table of mistakes."""
PICTURE = "confusion.png"


@dataclass(frozen=True)
class Classification:
    """Each row's label is learned; the head is new, trained whole and saved with the adapter."""

    labels: tuple[str, ...]
    """In the order of the head's outputs."""
    seed: int
    """Of the head before training."""
    label_counts: dict[str, int]
    """Usable rows of each label; empty for a finished adapter."""
    weighted: bool = False
    """Whether rare labels count as much as common ones."""
    name: str = "classification"
    unit: ClassVar[str] = "row"
    evenly: ClassVar[bool] = True
    scores: ClassVar[bool] = True

    @classmethod
    def of_run(cls, name: str, config: TrainConfig, label_counts: Mapping[str, int]) -> Self:
        """See ``Task``."""
        if len(label_counts) == 1:
            raise DataError(only_one(next(iter(label_counts))))
        labels = ordered(label_counts)
        counts = {label: label_counts[label] for label in labels}
        return cls(labels, config.seed, counts, config.class_weights, name)

    @classmethod
    def of_adapter(cls, name: str, adapter: Adapter, folder: Path) -> Self:
        """See ``Task``."""
        head = head_of(adapter, folder)
        return cls(head.labels, head.seed, {}, name=name)

    @property
    def head(self) -> Head:
        """What is put on the base model."""
        return Head(self.labels, self.seed)

    @property
    def weights(self) -> tuple[float, ...] | None:
        """A row's weight by its class: rows / (labels · rows with its label); None means 1."""
        if not self.weighted:
            return None
        rows = sum(self.label_counts.values())
        return tuple(rows / (len(self.labels) * self.label_counts[label]) for label in self.labels)

    def encode(self, samples: Iterable[Sample], words: Words, cache_dir: Path) -> Encoded:
        """See ``Task``."""
        return encode(samples, ClassMaker(self._reader(words), self.labels), cache_dir=cache_dir)

    def load(
        self,
        folder: Path,
        device: torch.device,
        dtype: torch.dtype,
        words: Words,
        quantization: Quantization = "none",
    ) -> PreTrainedModel:
        """See ``Task``."""
        return load_classifier(folder, device, dtype, self.head, words.pad_id, quantization)

    def profile(self, folder: Path, base_model: str) -> ModelProfile:
        """See ``Task``."""
        return build_profile(folder, base_model, "classification", len(self.labels))

    def path(
        self, model: Any, config: TrainConfig, words: Words, device: torch.device, longest: int
    ) -> LossPath:
        """See ``Task``."""
        plain = PaddedClasses(
            model, words.pad_id, config.batch_size, self.weights, config.label_smoothing
        )
        return choose_classes(model, plain, config, longest)

    def measure(self, model: Any, path: LossPath, words: Words, share: Share, tell: Tell) -> Any:
        """Accuracy, F1 and confusion matrix (row = true, column = predicted), with the most
        confident mistakes; the second of two labels is the positive one."""
        found, true, loss, learned = [], [], 0.0, 0.0
        for examples in share.in_order():
            thought = probabilities(cast(ClassPath, path), examples)
            labels = [example["labels"][0] for example in examples]
            found += thought.tolist()
            true += labels
            for row, label in zip(thought, labels, strict=True):
                weight = self.weights[label] if self.weights else 1.0
                loss -= weight * float(row[label].clamp(min=1e-30).log())
                learned += weight
        predicted = [max(range(len(row)), key=row.__getitem__) for row in found]
        matrix = scores.confusion(true, predicted, len(self.labels))
        binary = len(self.labels) == 2
        return {
            "rows": len(share),
            "loss": loss / learned,
            "accuracy": scores.accuracy(matrix),
            "f1": scores.f1(matrix, 1) if binary else None,
            "positive_label": self.labels[1] if binary else None,
            "f1_macro": scores.macro_f1(matrix),
            "confusion": matrix,
            "by_label": {
                label: {
                    "rows": sum(matrix[number]),
                    "precision": scores.precision(matrix, number),
                    "recall": scores.recall(matrix, number),
                    "f1": scores.f1(matrix, number),
                }
                for number, label in enumerate(self.labels)
            },
            "mistakes": self._mistakes(share, true, predicted, found),
        }

    def about(self) -> dict[str, Any]:
        """See ``Task``."""
        return {
            "task": self.name,
            "labels": list(self.labels),
            "label_counts": self.label_counts,
            "class_weights": self.weights and dict(zip(self.labels, self.weights, strict=True)),
        }

    def leave(self, folder: Path, measured: Mapping[str, Any]) -> None:
        """The confusion matrix of the test rows, or else of the validation rows, as a picture."""
        if shown := measured.get("test") or measured.get("validation"):
            draw(shown["confusion"], self.labels, folder / PICTURE)

    @staticmethod
    def outcome(measured: Mapping[str, Any]) -> str:
        """See ``Task``."""
        binary = measured["f1"] is not None
        f1 = f"F1 {measured['f1']:.1%} (of “{measured['positive_label']}”)" if binary else ""
        macro = f"{', ' if binary else ''}macro F1 {measured['f1_macro']:.1%}"
        return f"accuracy {measured['accuracy']:.1%}, {f1}{macro}"

    def usage(self, source: str, words: Words, *, whole: bool = False) -> str:
        """See ``Task``."""
        separates = self._reader(words).separates
        return usage_of(
            "classification",
            whole=whole,
            labels=list(self.labels),
            source=source,
            count=len(self.labels),
            pad_id=words.pad_id,
            example='"a text"',
            pairs='A pair of texts goes in as `tokenizer("one", "other", …)`.'
            if separates
            else 'A pair of texts goes in as two lines, `tokenizer("one\\nother", …)`.',
        )

    def compare(self, trial: Trial) -> dict[str, Any]:
        """Probabilities by label: ``{"base", "adapted", "labels"}``; a tab in the prompt divides
        a pair."""
        judge = Judge(trial.folder, self.head, trial.device, trial.quantization)
        text, pair = split_pair(trial.prompt)
        base, adapted = judge.probabilities(
            [
                Question(text, pair),
                Question(text, pair, trial.adapter, trial.strength),
            ]
        )
        return {
            "base": dict(zip(self.labels, base, strict=True)),
            "adapted": dict(zip(self.labels, adapted, strict=True)),
            "labels": list(self.labels),
        }

    def answerer(self, desk: Desk) -> Answerer:
        """See ``Task``."""
        return Sorting(desk, self.head)

    def _reader(self, words: Words) -> Reader:
        return Reader(words.tokenizer, words.max_length, with_types=reads_types(words.config))

    def _mistakes(
        self, share: Share, true: list[int], predicted: list[int], found: list[list[float]]
    ) -> list[dict[str, Any]]:
        wrong = [place for place in range(len(true)) if true[place] != predicted[place]]
        wrong.sort(key=lambda place: -found[place][predicted[place]])
        said = share.said(wrong[:MISTAKES])
        return [
            {
                "line": said[place].line,
                "text": said[place].text[:LONGEST_SHOWN],
                "text_pair": said[place].text_pair[:LONGEST_SHOWN],
                "true": self.labels[true[place]],
                "predicted": self.labels[predicted[place]],
                "confidence": found[place][predicted[place]],
            }
            for place in wrong[:MISTAKES]
        ]
