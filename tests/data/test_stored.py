"""Rows on disk, by their position."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pytest

from lora_engine.data.stored import StoredRows, batch_of

SCHEMA = pa.schema([("input_ids", pa.list_(pa.int32())), ("line", pa.int64())])
ROWS: list[dict[str, Any]] = [{"input_ids": list(range(n)), "line": -(2**40) * n} for n in range(7)]


@pytest.fixture
def stored(tmp_path: Path) -> StoredRows:
    """Seven rows in batches of three, three and one."""
    path = tmp_path / "rows.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, SCHEMA) as writer:
        for start in (0, 3, 6):
            writer.write_batch(batch_of(ROWS[start : start + 3], SCHEMA))
    return StoredRows(path)


def test_rows_come_in_the_asked_order(stored: StoredRows) -> None:
    assert len(stored) == 7
    for places in ([6, 0, 3], [2, 2], [5]):
        taken = stored.take(places)
        assert taken["input_ids"] == [ROWS[place]["input_ids"] for place in places]
        assert taken["line"] == [ROWS[place]["line"] for place in places]
    assert stored.take([]) == {"input_ids": [], "line": []}


def test_a_column_is_whole(stored: StoredRows) -> None:
    assert stored["line"] == [row["line"] for row in ROWS]


def test_what_is_no_arrow_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    path.write_text("nothing")
    with pytest.raises((OSError, pa.ArrowInvalid)):
        StoredRows(path)


@pytest.mark.usefixtures("stored")
def test_datasets_reads_the_same(tmp_path: Path) -> None:
    import datasets  # type: ignore[import-untyped]

    assert list(datasets.Dataset.from_file(str(tmp_path / "rows.arrow"))) == ROWS


WITHOUT_PANDAS = """
import sys
from pathlib import Path
import pyarrow as pa
from lora_engine.data.stored import StoredRows, batch_of

schema = pa.schema([("input_ids", pa.list_(pa.int32())), ("line", pa.int64())])
path = Path(sys.argv[1])
with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
    writer.write_batch(batch_of([{"input_ids": [1, 2], "line": 3}], schema))
rows = StoredRows(path)
print(rows.take([0]), rows["line"], "pandas" in sys.modules)
"""


def test_neither_writing_nor_reading_needs_pandas(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_PANDAS, str(tmp_path / "rows.arrow")]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "{'input_ids': [[1, 2]], 'line': [3]} [3] False"
