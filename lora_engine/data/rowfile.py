"""Rows on disk: an Arrow IPC file with the line, what is wrong with the row, and its cells.

The columns of the table stand behind the two of our own and are found by their place, so that a
table may have columns of any name.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]

from lora_engine.data.lines import Row, Source
from lora_engine.data.nouns import Problem, ProblemKind
from lora_engine.errors import RowsLostError

BATCH_ROWS = 8192
BATCH_CHARACTERS = 8_000_000
OWN_COLUMNS = 3


@dataclass(frozen=True)
class Batch:
    """Some rows in file order, column by column."""

    lines: list[int]
    problems: list[Problem | None]
    """Set where the row could not be read; its cells are None then."""
    columns: list[list[str | None]]
    """The cells of the columns that were asked for."""

    def rows(self) -> Iterator[tuple[int, Problem | None, list[str | None]]]:
        """Line, problem and cells of each row."""
        for line, problem, *cells in zip(self.lines, self.problems, *self.columns, strict=True):
            yield line, problem, cells


def write_rows(path: Path, source: Source, on_progress: Callable[[float], None]) -> int:
    """Write all rows of ``source`` to a new Arrow file; the number of rows.

    Raises:
        DataError: the source cannot be read on.
    """
    count = 0
    schema = _schema(source.columns)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for rows in _batches(source.rows):
            writer.write_batch(_record_batch(rows, schema))
            count += len(rows)
            on_progress(source.fraction())
    return count


def read_rows(path: Path, places: Sequence[int]) -> Iterator[Batch]:
    """The rows of a file written by ``write_rows``, with the columns at ``places`` (from 0).

    Raises:
        RowsLostError: it is not there, or damaged.
    """
    try:
        yield from _read_rows(path, places)
    except (OSError, pa.ArrowException) as error:
        raise RowsLostError from error


def _read_rows(path: Path, places: Sequence[int]) -> Iterator[Batch]:
    with pa.OSFile(str(path), "rb") as file, pa.ipc.open_file(file) as reader:
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            lines = batch.column(0).to_pylist()
            yield Batch(
                lines,
                _problems(lines, batch.column(1).to_pylist(), batch.column(2).to_pylist()),
                [batch.column(OWN_COLUMNS + place).to_pylist() for place in places],
            )


def _schema(columns: Sequence[str]) -> pa.Schema:
    own = [("line", pa.int64()), ("problem", pa.string()), ("reason", pa.string())]
    return pa.schema(own + [(name, pa.string()) for name in columns])


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """The rows in lists that are neither long nor big."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += sum(map(len, filter(None, row.cells)))
        if len(batch) >= BATCH_ROWS or size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _record_batch(rows: list[Row], schema: pa.Schema) -> pa.RecordBatch:
    nothing = (None,) * (len(schema) - OWN_COLUMNS)
    lines, cells, problems = zip(*rows, strict=True)
    by_column = zip(*(each or nothing for each in cells), strict=True)
    kinds, reasons = zip(*(problem or (None, None) for problem in problems), strict=True)
    arrays = [pa.array(lines, pa.int64())]
    arrays += [pa.array(column, pa.string()) for column in (kinds, reasons, *by_column)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _problems(
    lines: list[int], kinds: list[ProblemKind | None], reasons: list[str]
) -> list[Problem | None]:
    return [
        Problem(line=line, kind=kind, message=reason) if kind else None
        for line, kind, reason in zip(lines, kinds, reasons, strict=True)
    ]
