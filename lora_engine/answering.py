"""What an adapter makes of many rows: answers or labels, and how they compare with the expected.

Rows of like length share a batch; what is in memory at once is a few rows and their answers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from lora_engine import scores
from lora_engine.adapter import Adapter
from lora_engine.classify import Head, Judge, Question
from lora_engine.config import Quantization
from lora_engine.data.asking import Asked
from lora_engine.data.labels import Classes
from lora_engine.errors import DataError
from lora_engine.generate import Decoding, Row, Speaker
from lora_engine.rouge import matches, rouge_l

AT_ONCE = 16
"""Answers that are written together."""
MOST_CHARACTERS = 20_000
"""Of the texts that are sorted between two looks at whether to stop: some seconds, however long
they are."""
MOST_TOKENS = 8192
"""Of all rows of a batch together, answers included: what they keep takes memory a token."""
ROUNDED = 4
"""Decimals of a probability: a cell of a table is for people."""


@dataclass(frozen=True)
class Reply:
    """What is written beside one row."""

    place: int
    """Of the row, among those that were asked together."""
    values: tuple[str | float, ...] = ()
    """One for each of the new columns; none where there is no answer."""
    trouble: str = ""
    """Why there is none; else empty."""
    cut: bool = False
    """Whether the longest answer was reached."""


class Answerer(Protocol):
    """A base model in memory with an adapter, before a file of questions."""

    window: int
    """Rows that are asked together, so that those of like length can share a batch; what comes of
    them is written when all are done."""
    columns: tuple[str, ...]
    """What is written beside each row."""

    def replies(
        self, asked: Sequence[Asked], should_stop: Callable[[], bool]
    ) -> Iterator[list[Reply]]:
        """Replies to some rows, a batch at a time, in any order; fewer once it is to stop."""

    def scores(self) -> dict[str, Any] | None:
        """How the replies so far compare with what was expected; None where nothing was."""


@dataclass(frozen=True)
class Desk:
    """An adapter and how it is to answer a whole file."""

    folder: Path
    """The base model's."""
    adapter: Adapter
    decoding: Decoding
    device: torch.device
    quantization: Quantization = "none"
    """How the base is held."""
    with_base: bool = False
    """Whether the base answers beside the adapter."""


class Writing:
    """Written answers, of a decoder or an encoder-decoder."""

    window = 64

    def __init__(self, desk: Desk, *, as_text: bool = False) -> None:
        """``as_text`` takes what is asked as text to go on with. Raises WorkbenchError."""
        self._speaker = Speaker.load(desk.folder, desk.device, desk.quantization)
        self._decoding = desk.decoding
        self._as_text = as_text
        self._adapters = (desk.adapter, None) if desk.with_base else (desk.adapter,)
        self._scores = [_TextScores() for _ in self._adapters]
        self.columns = ("model_answer", "base_answer")[: len(self._adapters)]

    def replies(
        self, asked: Sequence[Asked], should_stop: Callable[[], bool]
    ) -> Iterator[list[Reply]]:
        """See ``Answerer``."""
        prompts: dict[int, list[int]] = {}
        refused = []
        for place, row in enumerate(asked):
            try:
                prompts[place] = self._prompt(row)
            except DataError as error:
                refused.append(Reply(place, trouble=f"Line {row.line}: {error}"))
        if refused:
            yield refused
        for places in self._batches(prompts):
            rows = [Row(prompts[place], a) for place in places for a in self._adapters]
            answers = self._speaker.answer(rows, self._decoding, should_stop=should_stop)
            if answers.stopped:
                return
            sides = len(self._adapters)
            yield [
                self._reply(
                    place,
                    asked[place],
                    answers.texts[sides * number : sides * (number + 1)],
                    any(answers.cut[sides * number : sides * (number + 1)]),
                )
                for number, place in enumerate(places)
            ]

    def scores(self) -> dict[str, Any] | None:
        """Exact match and ROUGE-L of the adapter and, under ``base``, of the base."""
        found = [each.found() for each in self._scores]
        if found[0] is None:
            return None
        return found[0] | ({"base": found[1]} if len(found) > 1 else {})

    def _prompt(self, row: Asked) -> list[int]:
        turns = row.turns or (("user", row.text),)
        messages = [{"role": role, "content": content} for role, content in turns]
        return self._speaker.prompt_ids(messages, as_text=self._as_text)

    def _batches(self, prompts: dict[int, list[int]]) -> Iterator[list[int]]:
        """Places of rows of like length."""
        wanted, sides = self._decoding.max_new_tokens, len(self._adapters)
        batch: list[int] = []
        for place in sorted(prompts, key=lambda place: len(prompts[place])):
            length = len(prompts[place]) + wanted
            full = (len(batch) + 1) * sides > AT_ONCE
            if batch and (full or length * (len(batch) + 1) * sides > MOST_TOKENS):
                yield batch
                batch = []
            batch.append(place)
        if batch:
            yield batch

    def _reply(self, place: int, row: Asked, texts: Sequence[str], cut: bool) -> Reply:
        if row.expected:
            for score, text in zip(self._scores, texts, strict=True):
                score.add(row.expected, text)
        return Reply(place, tuple(texts), cut=cut)


class Sorting:
    """Labels with their probability."""

    window = 256

    def __init__(self, desk: Desk, head: Head) -> None:
        """Raises WorkbenchError."""
        self._judge = Judge(desk.folder, head, desk.device, desk.quantization)
        self._adapters = (desk.adapter, None) if desk.with_base else (desk.adapter,)
        self._scores = [_LabelScores(head.labels) for _ in self._adapters]
        names = ("predicted_label", "probability", "base_label", "base_probability")
        self.columns = names[: 2 * len(self._adapters)]

    def replies(
        self, asked: Sequence[Asked], should_stop: Callable[[], bool]
    ) -> Iterator[list[Reply]]:
        """See ``Answerer``; texts of one length go through the model together."""
        start = 0
        while start < len(asked) and not should_stop():
            end = _end_of_share(asked, start)
            rows = asked[start:end]
            found = iter(
                self._judge.probabilities(
                    [Question(row.text, row.text_pair, a) for row in rows for a in self._adapters]
                )
            )
            yield [self._reply(start + place, row, found) for place, row in enumerate(rows)]
            start = end

    def _reply(self, place: int, row: Asked, found: Iterator[list[float]]) -> Reply:
        values: list[str | float] = []
        for score, thought in zip(self._scores, found, strict=False):  # as many as there are sides
            number = max(range(len(thought)), key=thought.__getitem__)
            values += [self._judge.labels[number], round(thought[number], ROUNDED)]
            if row.expected:
                score.add(row.expected, number)
        return Reply(place, tuple(values))

    def scores(self) -> dict[str, Any] | None:
        """Accuracy and macro F1 of the adapter and, under ``base``, of the base."""
        found = [each.found() for each in self._scores]
        if found[0] is None:
            return None
        return found[0] | ({"base": found[1]} if len(found) > 1 else {})


def _end_of_share(asked: Sequence[Asked], start: int) -> int:
    """Where the rows from ``start`` on, one at least, have ``MOST_CHARACTERS``."""
    characters = 0
    for place in range(start, len(asked)):
        characters += len(asked[place].text) + len(asked[place].text_pair)
        if characters > MOST_CHARACTERS:
            return max(place, start + 1)
    return len(asked)


class _TextScores:
    """Exact match and ROUGE-L as answers come in."""

    def __init__(self) -> None:
        self._rows = 0
        self._equal = 0
        self._rouge = 0.0

    def add(self, expected: str, answer: str) -> None:
        self._rows += 1
        self._equal += matches(expected, answer)
        self._rouge += rouge_l(expected, answer)

    def found(self) -> dict[str, Any] | None:
        if not self._rows:
            return None
        return {
            "rows": self._rows,
            "exact_match": self._equal / self._rows,
            "rouge_l": self._rouge / self._rows,
        }


class _LabelScores:
    """Accuracy and F1 as labels come in; one that was never learned counts as another class."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._classes = Classes(labels)
        self._unknown = len(labels)
        self._matrix = scores.confusion((), (), len(labels) + 1)

    def add(self, expected: str, predicted: int) -> None:
        place = self._classes.place(expected)
        self._matrix[self._unknown if place is None else place][predicted] += 1

    def found(self) -> dict[str, Any] | None:
        if not (rows := sum(map(sum, self._matrix))):
            return None
        return {
            "rows": rows,
            "accuracy": scores.accuracy(self._matrix),
            "f1_macro": scores.macro_f1(self._matrix),
            "unknown_labels": sum(self._matrix[-1]),
        }
