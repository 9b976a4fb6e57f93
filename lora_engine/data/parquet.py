"""A Parquet file → rows, a few at a time; lists and structs become JSON text."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lora_engine.data.lines import Row, Source
from lora_engine.data.tables import header_of
from lora_engine.data.values import cell_of
from lora_engine.errors import DataError

BATCH_ROWS = 1024
BATCH_BYTES = 16_000_000
BUFFER_BYTES = 1 << 20
"""Read from each column at once, however long it is in the file."""
ROW_NUMBERS = re.compile(r"__index_level_\d+__")
"""A column that pandas adds."""
DAMAGED = "This Parquet file is damaged or of a kind that cannot be read; make it anew."
NOTE = "A Parquet file has no lines: “line 3” means the third row."


@contextmanager
def open_parquet(path: Path) -> Iterator[Source]:
    """Open a Parquet file.

    Raises:
        DataError: it is damaged, or has no columns or no rows.
    """
    import pyarrow as pa  # type: ignore[import-untyped]
    from pyarrow import parquet

    broken = pa.ArrowException, OSError, ValueError, LookupError, OverflowError
    try:
        file = parquet.ParquetFile(path, buffer_size=BUFFER_BYTES)
        names = file.schema_arrow.names
    except broken:
        raise DataError(DAMAGED) from None
    with file:
        places = [place for place, name in enumerate(names) if not ROW_NUMBERS.fullmatch(name)]
        if not places or not file.metadata.num_rows:
            raise DataError("The Parquet file has no rows; choose one that has some.")
        columns, _ = header_of(1, [names[place] for place in places], has_header=True)
        reading = _Reading(file, places, broken)
        yield Source(
            format="parquet",
            encoding="",
            delimiter="",
            columns=columns,
            rows=reading.rows(),
            fraction=reading.fraction,
            notes=[NOTE],
        )


class _Reading:
    """The rows of an open file, and how many of them were given."""

    def __init__(self, file: Any, places: Sequence[int], broken: tuple[type[Exception], ...]):
        self._file = file
        self._places = places
        self._broken = broken
        self._given = 0
        self._count: int = file.metadata.num_rows

    def fraction(self) -> float:
        """Share of the rows that were given."""
        return min(1.0, self._given / self._count)

    def rows(self) -> Iterator[Row]:
        """The rows, numbered from 1; raises DataError where the file cannot be read on."""
        try:
            for batch in self._file.iter_batches(batch_size=self._batch_rows()):
                columns = [
                    [cell_of(value) for value in batch.column(place).to_pylist()]
                    for place in self._places
                ]
                for cells in zip(*columns, strict=True):
                    self._given += 1
                    yield Row(self._given, cells)
        except self._broken:
            raise DataError(DAMAGED) from None

    def _batch_rows(self) -> int:
        """As many rows as are a few megabytes: a cell may hold a picture."""
        about = self._file.metadata
        groups = map(about.row_group, range(about.num_row_groups))
        size: int = sum(group.total_byte_size for group in groups)
        return max(1, min(BATCH_ROWS, BATCH_BYTES * self._count // max(1, size)))
