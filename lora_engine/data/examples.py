"""One sample after the other → examples, cut to the maximum length, with a count of everything."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from lora_engine.data.chat import RefusedError, Written
from lora_engine.data.nouns import Sample
from lora_engine.data.tally import Tally
from lora_engine.data.tokens import Encoder, Tokens

IGNORED = -100
"""The label of a token that is read but not learned."""
LONGEST_GREETING = 20
"""Characters that a person has said before it counts as a question."""


class ExampleMaker:
    """Makes examples of conversations and plain texts: input_ids, and labels of the same length."""

    columns = ("input_ids", "labels")

    def __init__(self, encoder: Encoder, max_length: int) -> None:
        self._encoder = encoder
        self._max_length = max_length
        self.tally = Tally()
        self._least = 0
        """The smallest maximum length at which one of the rows that are too long has a use."""

    def examples(self, samples: Sequence[Sample]) -> Iterator[dict[str, Any]]:
        """The examples of some samples, in order."""
        self.tally.samples += len(samples)
        written = [self._written(sample) for sample in samples]
        chats = iter(self._encoder.chats([chat for chat in written if isinstance(chat, Written)]))
        texts = iter(self._encoder.texts([sample.text for sample in samples if sample.text]))
        for sample, chat in zip(samples, written, strict=True):
            if isinstance(chat, Written):
                made: Iterable[dict[str, Any]] = self._conversation(sample, chat, next(chats))
            elif sample.text:
                made = self._text(sample, next(texts))
            else:
                continue
            for example in made:
                self.tally.count += 1
                self.tally.tokens += len(example["input_ids"])
                self.tally.learned += sum(label != IGNORED for label in example["labels"][1:])
                yield example

    def why_nothing(self) -> str:
        """Why there is no example, and what to do."""
        if not self.tally.problems:
            return "No row of the data set can be used; choose other columns or another file."
        if self._least:
            any_row = f"{self._least:,} to learn from any row, or to "
            return (
                f"Every row is too long for a maximum length of {self._max_length:,} tokens; "
                f"raise it to {any_row if self._least < self.tally.longest else ''}"
                f"{self.tally.longest:,} to keep all rows whole."
            )
        return f"No row can be learned by this model; the first: {self.tally.problems[0].message}"

    def _written(self, sample: Sample) -> Written | None:
        if not sample.messages:
            return None
        messages = [{"role": turn.role, "content": turn.content} for turn in sample.messages]
        unlearned = [place for place, turn in enumerate(sample.messages) if not turn.is_learned]
        try:
            return self._encoder.chat.write(messages, unlearned=unlearned)
        except RefusedError as error:
            self.tally.problem(sample, "broken", f"does not fit this model's chat format: {error}")
        return None

    def _conversation(
        self, sample: Sample, chat: Written, tokens: Tokens
    ) -> Iterator[dict[str, Any]]:
        self.tally.missed_answers += chat.missed
        ids, labels = self._labelled(chat, tokens)
        first = next((i for i, label in enumerate(labels) if label != IGNORED and i), None)
        if first is None:
            reason = "has no answer that this model's chat format lets it learn"
            self.tally.problem(sample, "broken", reason)
            return
        self.tally.longest = max(self.tally.longest, len(ids))
        if len(ids) > self._max_length:
            size = f"has {len(ids):,} tokens"
            if first >= self._max_length:
                self._least = min(self._least or first + 1, first + 1)
                reason = f"{size} and its first answer begins after the limit of "
                self.tally.problem(sample, "too_long", f"{reason}{self._max_length:,}")
                return
            self.tally.cut(sample, "", len(ids), self._max_length)
        yield self._example(sample, ids[: self._max_length], labels[: self._max_length])

    def _labelled(self, chat: Written, tokens: Tokens) -> tuple[list[int], list[int]]:
        """Token ids and labels of a conversation, with an end token where none is written."""
        ids, offsets = tokens.ids, tokens.offsets
        end_id = self._encoder.end_id
        add_end = chat.needs_end and end_id is not None
        if add_end:
            end = chat.learned[-1][1]
            ids = [token for token, (start, _) in zip(ids, offsets, strict=True) if start < end]
        labels = [IGNORED] * len(ids)
        spans = iter(chat.learned)
        span = next(spans, None)
        for place, (start, _) in enumerate(offsets[: len(ids)]):
            while span and start >= span[1]:
                span = next(spans, None)
            # a token that begins in the question belongs to it
            if span and start >= span[0]:
                labels[place] = ids[place]
        if add_end and end_id is not None:
            return [*ids, end_id], [*labels, end_id]
        return ids, labels

    def _text(self, sample: Sample, ids: list[int]) -> Iterator[dict[str, Any]]:
        self.tally.longest = max(self.tally.longest, len(ids))
        if len(ids) < 2:
            self.tally.problem(sample, "empty", "has too few tokens to learn from")
        for start in range(0, len(ids), self._max_length):
            piece = ids[start : start + self._max_length]
            if len(piece) > 1:  # the first token of a piece is never predicted
                yield self._example(sample, piece, piece)

    @staticmethod
    def _example(sample: Sample, ids: list[int], labels: list[int]) -> dict[str, Any]:
        group = _group(sample)
        return {"input_ids": ids, "labels": labels, "line": sample.line, "group": group}


def _group(sample: Sample) -> int:
    """A hash of what comes before the first answer to a person (or of the whole text); a
    greeting is not yet a question."""
    said = []
    asked = 0
    for turn in sample.messages:
        if turn.role == "assistant" and asked > LONGEST_GREETING:
            break
        if turn.role == "user":
            asked += len(turn.content.strip())
        if turn.role == "assistant" and asked:
            continue
        said.append(f"{turn.role}\x1f{turn.content.strip()}")
    digest = hashlib.blake2b("\x1e".join([*said, sample.text.strip()]).encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "little", signed=True)
