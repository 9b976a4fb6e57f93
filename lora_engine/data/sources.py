"""Questions and answers → examples for an encoder-decoder: what is read, and what is written."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from lora_engine.data.classes import Reader
from lora_engine.data.nouns import Sample, Turn
from lora_engine.data.tally import Tally


class SourceMaker:
    """Makes examples of conversations; ``input_ids`` is read, ``labels`` is written.

    What is written is the last answer that is learned, with the model's end token; what is read is
    everything before it, a line a turn.
    """

    columns = ("input_ids", "labels")

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self._reader = Reader(tokenizer, max_length, with_types=False)
        self._end_id: int | None = tokenizer.eos_token_id
        self._max_length = max_length
        self.tally = Tally()

    def examples(self, samples: Sequence[Sample]) -> Iterator[dict[str, Any]]:
        """The examples of some samples, in order."""
        self.tally.samples += len(samples)
        usable = []
        for sample in samples:
            said, answer = source_and_target(sample.messages)
            if said and answer:
                usable.append((sample, said, answer))
            else:
                self.tally.problem(sample, "broken", "has no question before its last answer")
        sources = self._reader([(said, "") for _, said, _ in usable])
        targets = self._reader([(answer, "") for _, _, answer in usable])
        for (sample, said, _), source, target in zip(usable, sources, targets, strict=True):
            ids, kept = target.ids, len(target.ids)
            if self._end_id is not None and ids[-1:] != [self._end_id]:
                kept = min(kept, self._max_length - 1)
                ids = [*ids[:kept], self._end_id]
            self.tally.longest = max(self.tally.longest, source.whole, target.whole)
            if source.whole > len(source.ids):
                self.tally.cut(sample, "a question of ", source.whole, len(source.ids))
            elif target.whole > kept:
                self.tally.cut(sample, "an answer of ", target.whole, kept)
            self.tally.count += 1
            self.tally.learned += len(ids)
            self.tally.tokens += len(source.ids) + len(ids)
            digest = hashlib.blake2b(said.strip().encode(), digest_size=8).digest()
            group = int.from_bytes(digest, "little", signed=True)
            row = {"input_ids": source.ids, "labels": ids, "line": sample.line}
            yield row | {"group": group}

    def why_nothing(self) -> str:
        """Why there is no example, and what to do."""
        if not self.tally.problems:
            return "No row has a question and an answer; choose other columns or another file."
        return f"No row can be used; the first: {self.tally.problems[0].message}"


def source_and_target(messages: Sequence[Turn]) -> tuple[str, str]:
    """What is read and what is written of a conversation; either is empty where there is none."""
    place = max((i for i, turn in enumerate(messages) if turn.is_learned), default=0)
    source = "\n".join(turn.content for turn in messages[:place])
    return source, messages[place].content if place else ""
