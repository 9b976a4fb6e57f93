"""Labelled texts, or pairs of texts → examples of a class."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lora_engine.data.labels import Classes
from lora_engine.data.nouns import Sample
from lora_engine.data.tally import Tally

JOINT = "\n"
"""Between the texts of a pair, for models whose tokenizer puts nothing there."""


@dataclass(frozen=True)
class Reading:
    """What a model reads of a text, or of a pair."""

    ids: list[int]
    types: list[int]
    """Which text each token belongs to, 0 or 1; empty for models that do not ask."""
    whole: int
    """Tokens before anything was cut."""


class Reader:
    """A tokenizer for whole texts and pairs, with the model's own tokens around and between them.

    Control tokens in a person's text stay ordinary text. A pair that is too long loses tokens of
    its longer text first.
    """

    def __init__(self, tokenizer: Any, max_length: int, *, with_types: bool) -> None:
        """``with_types``: whether the model asks which text each token belongs to."""
        self._tokenizer = tokenizer
        self._max_length = max_length
        self.with_types = with_types
        self.separates = self._separates()

    def __call__(self, texts: Sequence[tuple[str, str]]) -> list[Reading]:
        """One reading a (text, second text or "")."""
        found: dict[int, Reading] = {}
        for paired in (False, True):
            places = [i for i, (_, second) in enumerate(texts) if bool(second) == paired]
            chosen = [texts[i] for i in places]
            found |= zip(places, self._read(chosen, paired), strict=True)
        return [found[i] for i in range(len(texts))]

    def _read(self, texts: list[tuple[str, str]], paired: bool) -> list[Reading]:
        if not texts:  # which the tokenizer does not take
            return []
        if paired and not self.separates:
            texts, paired = [(f"{one}{JOINT}{other}", "") for one, other in texts], False
        whole = self._tokenize(texts, paired)
        lengths = [len(ids) for ids, _ in whole]
        long = [i for i, length in enumerate(lengths) if length > self._max_length]
        if long:
            cut = {"truncation": "longest_first", "max_length": self._max_length}
            shorter = self._tokenize([texts[i] for i in long], paired, **cut)
            for i, reading in zip(long, shorter, strict=True):
                whole[i] = reading
        return [
            Reading(ids, types, length) for (ids, types), length in zip(whole, lengths, strict=True)
        ]

    def _tokenize(
        self, texts: list[tuple[str, str]], paired: bool, **cut: Any
    ) -> list[tuple[list[int], list[int]]]:
        encoded = self._tokenizer(
            [one for one, _ in texts],
            [other for _, other in texts] if paired else None,
            split_special_tokens=True,
            return_attention_mask=False,
            return_token_type_ids=self.with_types,
            verbose=False,
            **cut,
        )
        types = encoded["token_type_ids"] if self.with_types else [[]] * len(texts)
        return list(zip(encoded["input_ids"], types, strict=True))

    def _separates(self) -> bool:
        """Whether the tokenizer marks where a second text begins."""
        sides = self._tokenizer("a", "b").sequence_ids(0)
        return None in sides[sides.index(0) : sides.index(1)]


class ClassMaker:
    """Makes examples of texts with a label; ``labels`` holds one number, the class."""

    def __init__(self, reader: Reader, labels: Sequence[str]) -> None:
        self._reader = reader
        self._classes = Classes(labels)
        self.columns: tuple[str, ...] = ("input_ids", "labels")
        if reader.with_types:
            self.columns += ("token_type_ids",)
        self.tally = Tally()

    def examples(self, samples: Sequence[Sample]) -> Iterator[dict[str, Any]]:
        """The examples of some samples, in order."""
        self.tally.samples += len(samples)
        readings = self._reader([(sample.text, sample.text_pair) for sample in samples])
        for sample, reading in zip(samples, readings, strict=True):
            known = self._classes.place(sample.label)
            if known is None:
                reason = f"has the label “{sample.label}”, which is not in the training data"
                self.tally.problem(sample, "broken", reason)
                continue
            if not reading.ids:
                self.tally.problem(sample, "empty", "has no token that this model knows")
                continue
            self.tally.longest = max(self.tally.longest, reading.whole)
            if reading.whole > len(reading.ids):
                self.tally.cut(sample, "", reading.whole, len(reading.ids))
            self.tally.count += 1
            self.tally.learned += 1
            self.tally.tokens += len(reading.ids)
            example = {"input_ids": reading.ids, "labels": [known], "line": sample.line}
            if self._reader.with_types:
                example["token_type_ids"] = reading.types
            yield example | {"group": group_of(sample)}

    def why_nothing(self) -> str:
        """Why there is no example, and what to do."""
        if not self.tally.problems:
            return "No row has a text and a label; choose other columns or another file."
        return f"No row can be used; the first: {self.tally.problems[0].message}"


def group_of(sample: Sample) -> int:
    """A hash of what is read, whatever the label."""
    said = f"{sample.text.strip()}\x1e{sample.text_pair.strip()}"
    digest = hashlib.blake2b(said.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
