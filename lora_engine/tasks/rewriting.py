"""Sequence to sequence: an encoder-decoder such as T5 or BART reads one text and writes another."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from transformers import PreTrainedModel

from lora_engine.adapter import Adapter
from lora_engine.answering import Answerer, Desk, Writing
from lora_engine.config import Quantization, TrainConfig
from lora_engine.data.classes import Reader
from lora_engine.data.encode import Encoded, encode
from lora_engine.data.nouns import Sample
from lora_engine.data.sources import SourceMaker, source_and_target
from lora_engine.generate import Decoding, Row, Speaker
from lora_engine.inspection import build_profile
from lora_engine.loss import LossPath, mean_loss
from lora_engine.model import load_base
from lora_engine.profile import ModelProfile
from lora_engine.rewriting_loss import PaddedPairs
from lora_engine.rouge import matches, rouge_l
from lora_engine.share import Share
from lora_engine.tasks.answers import side_by_side
from lora_engine.tasks.base import Tell, Trial, Words
from lora_engine.tasks.usage import usage_of

SHOWN = 20
"""Answers that are kept to look at."""
AT_ONCE = 16
"""Answers that are written together."""
MOST_ANSWERS = 500
"""Rows of a share that answers are written for; writing takes long."""
SHORT, LONGEST_ANSWER = 128, 8192
"""Tokens of an answer: as many as the longest that is expected, but within these."""
LONGEST_SHOWN = 1000


@dataclass(frozen=True)
class Rewriting:
    """The last answer of each row is learned; everything before it is read by the encoder."""

    name: str = "seq2seq"
    unit: ClassVar[str] = "token"
    evenly: ClassVar[bool] = False
    scores: ClassVar[bool] = True

    @classmethod
    def of_run(cls, name: str, config: TrainConfig, label_counts: Mapping[str, int]) -> Self:
        """See ``Task``."""
        return cls(name)

    @classmethod
    def of_adapter(cls, name: str, adapter: Adapter, folder: Path) -> Self:
        """See ``Task``."""
        return cls(name)

    def encode(self, samples: Iterable[Sample], words: Words, cache_dir: Path) -> Encoded:
        """See ``Task``."""
        return encode(samples, SourceMaker(words.tokenizer, words.max_length), cache_dir=cache_dir)

    def load(
        self,
        folder: Path,
        device: torch.device,
        dtype: torch.dtype,
        words: Words,
        quantization: Quantization = "none",
    ) -> PreTrainedModel:
        """See ``Task``."""
        return load_base(folder, device, dtype, quantization, task="seq2seq")

    def profile(self, folder: Path, base_model: str) -> ModelProfile:
        """See ``Task``."""
        return build_profile(folder, base_model, "seq2seq")

    def path(
        self, model: Any, config: TrainConfig, words: Words, device: torch.device, longest: int
    ) -> LossPath:
        """See ``Task``."""
        return PaddedPairs(model, words.pad_id, config.batch_size, config.label_smoothing)

    def measure(self, model: Any, path: LossPath, words: Words, share: Share, tell: Tell) -> Any:
        """The loss of all rows; exact match and ROUGE-L of the greedy answers to the first rows
        (``answered_rows``), with a few to look at."""
        speaker = Speaker(model, words.tokenizer)
        read = Reader(words.tokenizer, words.max_length, with_types=False)
        said = share.said(range(min(len(share), MOST_ANSWERS)))
        rows = [source_and_target(said[place].messages) for place in sorted(said)]
        wanted = [len(e["labels"]) for e in share.examples(range(len(rows)))]
        decoding = Decoding(max_new_tokens=min(max(SHORT, *wanted), LONGEST_ANSWER))

        def watch(_row: int, _text: str) -> None:
            share.watch()

        answers: list[str] = []
        for start in range(0, len(rows), AT_ONCE):
            tell(f"Writing answers to measure, {start} of {len(rows)}")
            asked = read([(source, "") for source, _ in rows[start : start + AT_ONCE]])
            answers += speaker.answer([Row(each.ids) for each in asked], decoding, watch).texts
        pairs = [
            (source, expected, answer)
            for (source, expected), answer in zip(rows, answers, strict=True)
        ]
        return {
            "rows": len(share),
            "loss": mean_loss(path, share.in_order()),
            "answered_rows": len(pairs),
            "exact_match": _mean(matches(expected, answer) for _, expected, answer in pairs),
            "rouge_l": _mean(rouge_l(expected, answer) for _, expected, answer in pairs),
            "samples": [
                {
                    "source": source[:LONGEST_SHOWN],
                    "expected": expected[:LONGEST_SHOWN],
                    "answer": answer[:LONGEST_SHOWN],
                }
                for source, expected, answer in pairs[:SHOWN]
            ],
        }

    def about(self) -> dict[str, Any]:
        """See ``Task``."""
        return {"task": self.name}

    def leave(self, folder: Path, measured: Mapping[str, Any]) -> None:
        """Nothing."""

    @staticmethod
    def outcome(measured: Mapping[str, Any]) -> str:
        """See ``Task``."""
        return (
            f"exact match {measured['exact_match']:.1%}, ROUGE-L {measured['rouge_l']:.3f} "
            f"(greedy answers to {measured['answered_rows']:,} rows)"
        )

    def usage(self, source: str, words: Words, *, whole: bool = False) -> str:
        """See ``Task``."""
        return usage_of("rewriting", whole=whole, source=source)

    def compare(self, trial: Trial) -> dict[str, Any]:
        """Answers, and how far apart the two are: ``{"base", "adapted", "divergence"}``."""
        return side_by_side(trial)

    def answerer(self, desk: Desk) -> Answerer:
        """See ``Task``."""
        return Writing(desk)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
