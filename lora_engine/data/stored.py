"""Rows of numbers in an Arrow file that stays on disk.

``datasets`` reads the same file, and brings pandas and 80 MB along: more than the tokens of most
data sets. The training process needs rows by their position, and no more.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]


class StoredRows:
    """The rows of an Arrow stream in a memory-mapped file."""

    def __init__(self, path: Path) -> None:
        """Raises OSError and ``pyarrow.ArrowInvalid`` for a file that is none."""
        table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
        self._batches = table.to_batches()
        self._starts = list(accumulate(map(len, self._batches), initial=0))
        self._schema = table.schema

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, column: str) -> list[Any]:
        """A whole column."""
        return [value for batch in self._batches for value in batch.column(column).to_pylist()]

    def take(self, places: Iterable[int]) -> dict[str, list[Any]]:
        """Column → its values at ``places``, in their order."""
        rows = []
        for place in places:
            batch = bisect_right(self._starts, place) - 1
            rows.append(self._batches[batch].slice(place - self._starts[batch], 1))
        columns: dict[str, list[Any]] = pa.Table.from_batches(rows, self._schema).to_pydict()
        return columns


def batch_of(rows: Sequence[dict[str, Any]], schema: Any) -> Any:
    """``rows`` as a record batch; its columns are int64, or lists of int32.

    From buffers, because pyarrow imports pandas before it looks into a Python list.
    """
    columns = []
    for field in schema:
        values = [row[field.name] for row in rows]
        if field.type == pa.int64():
            columns.append(_column(field.type, array("q", values)))
            continue
        offsets = array("i", accumulate(map(len, values), initial=0))
        inside = _column(pa.int32(), array("i", chain.from_iterable(values)))
        buffers = [None, pa.py_buffer(offsets)]
        columns.append(
            pa.ListArray.from_buffers(field.type, len(values), buffers, children=[inside])
        )
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _column(kind: Any, values: "array[int]") -> Any:
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])
