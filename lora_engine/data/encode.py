"""Samples → examples on disk, whatever they are examples of."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa  # type: ignore[import-untyped]

from lora_engine.data.examples import ExampleMaker
from lora_engine.data.nouns import Problem, Sample
from lora_engine.data.split import split
from lora_engine.data.stored import StoredRows, batch_of
from lora_engine.data.tally import Tally
from lora_engine.data.tokens import Encoder, prompt_ids
from lora_engine.errors import DataError

__all__ = ["Encoded", "encode", "encode_dataset", "prompt_ids", "split"]

BATCH_SAMPLES = 256


class Maker(Protocol):
    """Turns samples into examples of one kind."""

    tally: Tally

    @property
    def columns(self) -> tuple[str, ...]:
        """The lists of numbers that an example holds; "line" and "group" come beside them."""

    def examples(self, samples: Sequence[Sample]) -> Iterator[dict[str, Any]]:
        """The examples of some samples, in order."""

    def why_nothing(self) -> str:
        """Why there is no example, and what to do, in one sentence."""


@dataclass(frozen=True)
class Encoded:
    """Examples in a memory-mapped file, and what did not fit."""

    path: Path
    """An Arrow stream: the maker's columns (int32), line, and group, a stable hash of what is
    given; rows of one group must not be on both sides of a split."""
    rows: StoredRows
    """The same, by their position."""
    problems: tuple[Problem, ...]
    """The first 1000: rows that were cut or left out."""
    problem_count: int
    rows_cut: int
    """Rows that are used without their end."""
    rows_left_out: int
    tokens: int
    learned_tokens: int
    """What is learned: predicted tokens, or rows with a label."""
    longest: int
    """Tokens of the longest row before it was cut."""
    missed_answers: int
    """Answers that are read but not learned, because the model's template writes them
    differently once they are not the last."""

    @property
    def dataset(self) -> Any:
        """The examples as a ``datasets.Dataset``."""
        import datasets  # type: ignore[import-untyped]

        return datasets.Dataset.from_file(str(self.path))


def encode_dataset(
    samples: Iterable[Sample],
    tokenizer: Any,
    *,
    max_length: int,
    cache_dir: Path,
    on_progress: Callable[[int], None] | None = None,
) -> Encoded:
    """Turn samples into examples, in file order.

    Conversations go through the model's chat template (``chat.DEFAULT_TEMPLATE`` where it has
    none); every answer is learned, up to and with its end token, unless its weight is 0. Plain text
    is learned whole and cut into pieces of ``max_length``. Control tokens in a person's text stay
    ordinary text.

    Args:
        samples: usable rows.
        tokenizer: a fast transformers tokenizer.
        max_length: the most tokens of an example; the rest of a conversation is cut off.
        cache_dir: folder for the examples' Arrow file; made where it is missing.
        on_progress: called now and then with the number of samples done.

    Raises:
        DataError: nothing is left that can be learned.
        ModelError: the tokenizer is no fast one.
    """
    maker = ExampleMaker(Encoder(tokenizer), max_length)
    return encode(samples, maker, cache_dir=cache_dir, on_progress=on_progress)


def encode(
    samples: Iterable[Sample],
    maker: Maker,
    *,
    cache_dir: Path,
    on_progress: Callable[[int], None] | None = None,
) -> Encoded:
    """Turn samples into the examples that ``maker`` makes of them, in file order.

    Args:
        samples: usable rows.
        maker: decides what an example is.
        cache_dir: folder for the examples' Arrow file; made where it is missing.
        on_progress: called now and then with the number of samples done.

    Raises:
        DataError: nothing is left that can be learned.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    for old in cache_dir.glob("examples-*.arrow"):
        with suppress(OSError):  # still open on Windows
            old.unlink()
    path = cache_dir / f"examples-{uuid.uuid4().hex}.arrow"
    numbers = [(name, pa.list_(pa.int32())) for name in maker.columns]
    schema = pa.schema([*numbers, ("line", pa.int64()), ("group", pa.int64())])
    done = iter(samples)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        while batch := list(islice(done, BATCH_SAMPLES)):
            writer.write_batch(batch_of(list(maker.examples(batch)), schema))
            if on_progress:
                on_progress(maker.tally.samples)
    tally = maker.tally
    if not tally.count:
        path.unlink()
        raise DataError(maker.why_nothing())
    return Encoded(
        path=path,
        rows=StoredRows(path),
        problems=tuple(tally.problems),
        problem_count=tally.problem_count,
        rows_cut=tally.rows_cut,
        rows_left_out=tally.problem_count - tally.rows_cut,
        tokens=tally.tokens,
        learned_tokens=tally.learned,
        longest=tally.longest,
        missed_answers=tally.missed_answers,
    )
