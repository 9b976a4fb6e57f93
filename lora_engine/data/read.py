"""A file → its columns and rows, whatever its format, encoding and delimiter."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Literal

from lora_engine.data import charset, dialect, jsons, tables
from lora_engine.data.jsons import Value
from lora_engine.data.lines import Lines, Source
from lora_engine.data.parquet import open_parquet
from lora_engine.data.workbook import open_workbook
from lora_engine.errors import DataError

SAMPLE_CHARACTERS = 1 << 18
JSON_START = re.compile(r'\[\s*[\[{\]]|\{\s*["{}]')
JSON_LINES_SUFFIXES = (".jsonl", ".ndjson")
NO_TEXT = {b"PK\x03\x04": open_workbook, b"PAR1": open_parquet}
"""How files of rows begin that are no text."""

Kind = Literal["table", "json_lines", "json_list", "json_object"]


@contextmanager
def open_source(path: Path, suffix: str = "", head: int | None = None) -> Iterator[Source]:
    """Open an Excel, CSV, TSV, semicolon, text, JSON, JSON Lines or Parquet file.

    Args:
        path: the file.
        suffix: the suffix of its original name, such as ``.csv``; empty means that of ``path``.
        head: read only so many rows; None means all.

    Raises:
        DataError: it is no table, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            opened = NO_TEXT.get(file.read(4))
    except OSError as error:
        raise _unreadable(path, error) from None
    suffix = (suffix or path.suffix).lower()
    with opened(path) if opened else _open_text(path, suffix, head) as source:
        source.rows = islice(source.rows, head)
        yield source


@contextmanager
def _open_text(path: Path, suffix: str, head: int | None) -> Iterator[Source]:
    try:
        found = charset.detect(path) if head is None else charset.detect_for_first_rows(path)
        with Lines(path, found) as lines:
            sample = lines.text.read(SAMPLE_CHARACTERS)
    except OSError as error:
        raise _unreadable(path, error) from None
    complete = len(sample) < SAMPLE_CHARACTERS
    kind = _kind(sample, suffix, complete)
    with Lines(path, found) as lines:
        if kind == "table":
            layout = dialect.detect(sample, complete=complete, suffix=suffix)
            source = tables.read_table(lines, layout)
        else:
            source = _json(path, lines, kind, head)
        if found.lossy:
            source.notes.append(
                f"The file is read as {found.encoding}, but some bytes do not fit; "
                "the rows that hold them are left out."
            )
        yield source


def _unreadable(path: Path, error: OSError) -> DataError:
    reason = error.strerror or type(error).__name__
    return DataError(f"The file {path.name} cannot be read: {reason}.")


def _kind(sample: str, suffix: str, complete: bool) -> Kind:
    """How to read a file that begins with ``sample``."""
    text = sample.lstrip()
    if suffix == ".json" and text[:1] not in ("[", "{"):
        raise DataError("This file is named .json, but its text does not begin with [ or {.")
    if suffix not in (".json", *JSON_LINES_SUFFIXES) and not JSON_START.match(text):
        return "table"
    if text.startswith("["):
        return "json_list"
    if suffix in JSON_LINES_SUFFIXES:
        return "json_lines"
    first, *rest = [line for line in text.split("\n") if line.strip()][:50]
    if _is_object(first):
        return "json_object" if complete and not rest else "json_lines"
    # a first line that is broken, or the first line of one big object
    return "json_lines" if sum(map(_is_object, rest)) > len(rest) / 2 else "json_object"


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _json(path: Path, lines: Lines, kind: Kind, head: int | None) -> Source:
    """JSON is read twice: first for the names of all fields, then for the rows."""
    readers = {
        "json_lines": jsons.json_lines,
        "json_list": jsons.json_list,
        "json_object": jsons.json_object,
    }

    def values(of: Lines) -> Iterator[Value]:
        return islice(readers[kind](of), head)

    with Lines(path, lines.charset) as first_pass:
        found = jsons.scan(values(first_pass), tables.MOST_COLUMNS)
    notes = ["The rows share a line, so “line 3” means the third row."] if found.one_line else []
    return Source(
        format="jsonl" if kind == "json_lines" else "json",
        encoding=lines.charset.encoding,
        delimiter="",
        columns=found.columns,
        rows=jsons.as_rows(values(lines), found),
        fraction=lines.fraction,
        notes=notes,
    )
