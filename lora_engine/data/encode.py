"""Samples → examples on disk: input_ids and labels, with −100 where nothing is learned."""

import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from lora_engine.data.examples import IGNORED, ExampleMaker
from lora_engine.data.nouns import Problem, Sample
from lora_engine.data.split import split
from lora_engine.data.tokens import Encoder, prompt_ids
from lora_engine.errors import DataError

__all__ = ["IGNORED", "Encoded", "encode_dataset", "prompt_ids", "split"]

BATCH_SAMPLES = 256
SCHEMA = pa.schema(
    [
        ("input_ids", pa.list_(pa.int32())),
        ("labels", pa.list_(pa.int32())),
        ("line", pa.int64()),
        ("group", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Encoded:
    """Examples in a memory-mapped file, and what did not fit."""

    dataset: Any
    """A ``datasets.Dataset``: input_ids and labels (int32, same length, unshifted), line, and
    group, a stable hash of everything before the first answer."""
    problems: tuple[Problem, ...]
    """The first 1000: rows that were cut or left out."""
    problem_count: int
    rows_cut: int
    """Rows that are used without their end."""
    rows_left_out: int
    tokens: int
    learned_tokens: int
    """Tokens that are predicted and learned."""
    longest: int
    """Tokens of the longest row before it was cut."""
    missed_answers: int
    """Answers that are read but not learned, because the model's template writes them
    differently once they are not the last."""


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
    none); every answer is learned, up to and with its end token. Plain text is learned whole and
    cut into pieces of ``max_length``. Control tokens in a person's text stay ordinary text.

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
    import datasets  # type: ignore[import-untyped]

    maker = ExampleMaker(Encoder(tokenizer), max_length)
    cache_dir.mkdir(parents=True, exist_ok=True)
    for old in cache_dir.glob("examples-*.arrow"):
        with suppress(OSError):  # still open on Windows
            old.unlink()
    path = cache_dir / f"examples-{uuid.uuid4().hex}.arrow"
    done = iter(samples)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, SCHEMA) as writer:
        while batch := list(islice(done, BATCH_SAMPLES)):
            writer.write_batch(pa.RecordBatch.from_pylist(list(maker.examples(batch)), SCHEMA))
            if on_progress:
                on_progress(maker.samples)
    if not maker.count:
        path.unlink()
        raise DataError(maker.why_nothing())
    return Encoded(
        dataset=datasets.Dataset.from_file(str(path)),
        problems=tuple(maker.problems),
        problem_count=maker.problem_count,
        rows_cut=maker.rows_cut,
        rows_left_out=maker.problem_count - maker.rows_cut,
        tokens=maker.tokens,
        learned_tokens=maker.learned_tokens,
        longest=maker.longest,
        missed_answers=maker.missed_answers,
    )
