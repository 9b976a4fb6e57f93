"""The data benchmark on few rows: it runs, and says what it should."""

import csv
import json
from pathlib import Path

import pytest

from benchmarks import data


def test_table_and_file_have_the_three_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data.main(["--rows", "300", "--runs", "1", "--results", str(tmp_path)])
    table = capsys.readouterr().out
    written = json.loads((tmp_path / "data.json").read_text("utf-8"))
    names = ["kept, read and checked", "peak memory of the process", "first rows on the page"]
    for bar, name in zip(written["bars"], names, strict=True):
        assert name in bar["work"]
        assert f"| {bar['work']} |" in table
    run = written["details"][0]
    assert run["library"]["total"] == 300
    assert run["library"]["problems"] == {"duplicate": 1, "empty": 1}


def test_rows_have_the_size_that_was_asked_for(tmp_path: Path) -> None:
    data.write_csv(tmp_path / "rows.csv", 500, data.SAMPLE_ROWS)
    size = (tmp_path / "rows.csv").stat().st_size
    assert 0.9 * 500 * data.ROW_BYTES < size < 1.1 * 500 * data.ROW_BYTES
    with (tmp_path / "rows.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.reader(file))) == 501
