"""The file of answers: each row's own columns, then the new ones; written as the answers come."""

import csv
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self, TextIO

from lora_engine.data.jsons import JsonText
from lora_engine.errors import SettingsError

KINDS = (".csv", ".jsonl")

Value = str | float | None


def check_out(out: Path) -> None:
    """Raise SettingsError where no file of answers can be made at ``out``."""
    if out.suffix.lower() not in KINDS:
        raise SettingsError(
            "out", f"The answers go to a file that ends in .csv or .jsonl, not to {out.name}."
        )
    if out.exists():
        raise SettingsError("out", f"{out} is there already; choose a new name.")
    if not out.parent.is_dir():
        raise SettingsError("out", f"There is no folder {out.parent}.")


def free_names(wanted: Sequence[str], columns: Sequence[str]) -> list[str]:
    """``wanted``, with a number behind a name that the file itself has."""
    found = []
    for name in wanted:
        number, free = 1, name
        while free in columns:
            number += 1
            free = f"{name}_{number}"
        found.append(free)
    return found


class AnswerFile(AbstractContextManager["AnswerFile"]):
    """A new CSV or JSON Lines file, by its suffix.

    CSV begins with a byte order mark, or Excel would take it for the machine's old encoding. In
    JSON Lines what was a number or a list in a JSON or Parquet file is one again.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        """Raises SettingsError where ``path`` exists by now, and OSError."""
        self._columns = list(columns)
        self._path = path
        self._as_table = path.suffix.lower() == ".csv"
        self._file: TextIO

    def __enter__(self) -> Self:
        encoding = "utf-8-sig" if self._as_table else "utf-8"
        try:
            self._file = self._path.open("x", encoding=encoding, newline="")
        except FileExistsError:
            check_out(self._path)
            raise
        self._table = csv.writer(self._file)
        if self._as_table:
            self._table.writerow(self._columns)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, rows: Sequence[Sequence[Value]]) -> None:
        """Add some rows; they are in the file when this returns."""
        for row in rows:
            if self._as_table:
                self._table.writerow(row)
            else:
                said = dict(zip(self._columns, map(_as_json, row), strict=True))
                self._file.write(json.dumps(said, ensure_ascii=False) + "\n")
        self._file.flush()


def _as_json(value: Value) -> Any:
    return json.loads(value) if isinstance(value, JsonText) else value
