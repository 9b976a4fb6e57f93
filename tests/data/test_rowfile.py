"""Rows on disk: what is written is read back, batch by batch."""

from pathlib import Path

import pytest

from lora_engine.data import rowfile
from lora_engine.data.lines import Row, Source
from lora_engine.data.nouns import Problem
from lora_engine.data.rowfile import read_rows, write_rows

ROWS = [
    Row(2, ["a", None, "x" * 50]),
    Row.bad(3, "missing", "has 1 cell, but the header has 3"),
    Row(5, ["", "ü灯😀", "z"]),
]


def source_of(rows: list[Row], columns: list[str]) -> Source:
    return Source("csv", "utf-8", ",", columns, iter(rows), lambda: 0.5)


@pytest.mark.parametrize(("most_rows", "most_characters"), [(8192, 10**6), (1, 10**6), (9, 40)])
def test_rows_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_rows: int, most_characters: int
) -> None:
    monkeypatch.setattr(rowfile, "BATCH_ROWS", most_rows)
    monkeypatch.setattr(rowfile, "BATCH_CHARACTERS", most_characters)
    path, shares = tmp_path / "rows.arrow", []
    # names like our own columns, and no name at all, are nothing special
    assert write_rows(path, source_of(ROWS, ["line", "", "problem"]), shares.append) == 3
    assert set(shares) == {0.5}
    batches = list(read_rows(path, [2, 0]))
    assert [line for batch in batches for line in batch.lines] == [2, 3, 5]
    assert [cell for batch in batches for cell in batch.columns[0]] == ["x" * 50, None, "z"]
    assert [cell for batch in batches for cell in batch.columns[1]] == ["a", None, ""]
    assert [problem for batch in batches for problem in batch.problems] == [
        None,
        Problem(line=3, kind="missing", message="Line 3 has 1 cell, but the header has 3."),
        None,
    ]


def test_no_rows_make_no_batch(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    assert write_rows(path, source_of([], ["a"]), lambda _: None) == 0
    assert list(read_rows(path, [0])) == []
