"""An Excel workbook → the rows of one of its sheets, as they are asked for.

openpyxl reads the file, row by row apart from the texts, which stand in a list of their own.
Here is decided which sheet is read, which of its columns, and what a cell says.
"""

import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from lora_engine.data.dialect import SAMPLE_RECORDS
from lora_engine.data.header import has_header, place_of_header
from lora_engine.data.lines import Source
from lora_engine.data.tables import header_of, rows_of
from lora_engine.data.values import cell_of
from lora_engine.errors import DataError

MOST_BYTES = 1 << 29
"""Of all parts of a workbook when unpacked: a small zip can hold anything."""
LONGEST_GAP = 10_000
"""Empty rows that end a table: a sheet may have a million that are formatted and nothing else."""
PEEKED_ROWS = 1000
"""Rows that show whether a sheet that is not read has any."""
DIGITS = 15
"""That Excel shows of a number; it stores 0.1 + 0.2 as 0.30000000000000004."""
CONTENTS = "[Content_Types].xml"
"""The part that every workbook has."""
ESCAPED = re.compile("_x00(09|0[AaDd])_")
"""How a tab or the end of a line may be written in a cell."""

NO_WORKBOOK = (
    "This is a zip archive, but no Excel workbook; save the table in it as .xlsx, CSV or JSON "
    "Lines first."
)
DAMAGED = "This Excel workbook is damaged and cannot be read; open it in Excel and save it again."
TOO_LARGE = (
    f"This workbook is larger than {MOST_BYTES >> 20} MB when it is unpacked; save the sheet as "
    "CSV instead."
)
NO_ROWS = (
    "The workbook has no rows that can be read; it needs a header and at least one row, saved as "
    "“Excel Workbook (.xlsx)”."
)
BROKEN = (
    *(BadZipFile, EOFError, zlib.error, SyntaxError, ValueError, TypeError, LookupError),
    *(AttributeError, ArithmeticError, RuntimeError),
)
"""What openpyxl may raise; it trusts the file to be as Excel writes it."""

Numbered = Iterator[tuple[int, Sequence[str | None]]]
"""The rows of a sheet by their number, without the empty cells at their ends."""


@contextmanager
def open_workbook(path: Path) -> Iterator[Source]:
    """Open an Excel workbook (.xlsx, .xlsm).

    Raises:
        DataError: it is none, or is damaged, or has no rows.
    """
    with path.open("rb") as file:
        parts = _parts(file)
        workbook = _load(file)
        try:
            columns, rows, notes = _table(_first_with_rows(workbook.worksheets))
            yield Source(
                format="xlsx",
                encoding="",
                delimiter="",
                columns=columns,
                rows=rows_of(rows, len(columns)),
                fraction=lambda: _fraction(file, parts),
                notes=notes,
            )
        finally:
            workbook.close()


def _parts(file: BinaryIO) -> list[ZipInfo]:
    """What the zip archive holds, as long as that may be a workbook."""
    try:
        with ZipFile(file) as archive:
            parts = archive.infolist()
    except BROKEN:
        raise DataError(
            "This zip archive or workbook is damaged and cannot be read; if it was copied or "
            "downloaded, do so again."
        ) from None
    if not any(part.filename == CONTENTS for part in parts):
        raise DataError(NO_WORKBOOK)
    if sum(part.file_size for part in parts) > MOST_BYTES:
        raise DataError(TOO_LARGE)
    if any(part.compress_type not in (ZIP_STORED, ZIP_DEFLATED) for part in parts):
        raise DataError(DAMAGED)
    return parts


def _load(file: BinaryIO) -> Any:
    import openpyxl  # type: ignore[import-untyped]

    # of what openpyxl does not know, such as rules for what may be typed into a cell
    warnings.filterwarnings("ignore", module=r"openpyxl\.")
    try:
        return openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
    except OSError:  # another document that is a zip archive, as of Word
        raise DataError(NO_WORKBOOK) from None
    except BROKEN:
        raise DataError(DAMAGED) from None


def _fraction(file: BinaryIO, parts: Sequence[ZipInfo]) -> float:
    """Share read of the part of the archive in which ``file`` stands: the sheet."""
    place = file.tell()
    begun = [part for part in parts if part.header_offset < place]
    part = max(begun, key=lambda part: part.header_offset)
    return min(1.0, (place - part.header_offset) / max(1, part.compress_size))


def _first_with_rows(sheets: Sequence[Any]) -> tuple[Numbered, list[str]]:
    """The rows of the first sheet that has any, and a sentence where others have some, too.

    A sheet that is hidden comes after those that a person sees.
    """
    ordered = sorted(sheets, key=lambda sheet: bool(sheet.sheet_state != "visible"))
    for place, sheet in enumerate(ordered):
        numbered = _numbered(sheet)
        begins = islice(numbered, LONGEST_GAP)
        if (first := next((row for row in begins if row[1]), None)) is None:
            continue
        others = [f"“{other.title}”" for other in ordered[place + 1 :] if _has_rows(other)]
        notes = []
        if others:
            *most, last = others
            named = f"{', '.join(most)} and {last} are" if most else f"{last} is"
            notes.append(f"The rows are those of the sheet “{sheet.title}”; {named} not read.")
        return chain([first], numbered), notes
    raise DataError(NO_ROWS)


def _has_rows(sheet: Any) -> bool:
    return any(cells for _, cells in islice(_numbered(sheet), PEEKED_ROWS))


def _numbered(sheet: Any) -> Numbered:
    sheet.reset_dimensions()  # what a file says about its size may be wrong
    try:
        for number, row in enumerate(sheet.iter_rows(), start=1):
            cells = [_said(cell.value, cell.data_type) for cell in row]
            while cells and cells[-1] is None:
                cells.pop()
            yield number, cells
    except BROKEN:
        raise DataError(DAMAGED) from None


def _said(value: Any, kind: str) -> str | None:
    """What a cell says; of a formula, what it gave when the file was saved."""
    if value is None or kind == "e":  # #N/A and the like
        return None
    if isinstance(value, str):
        if not value or value.isspace():
            return None
        return ESCAPED.sub(_unescaped, value) if "_x00" in value else value
    if isinstance(value, float):
        value = float(f"{value:.{DIGITS}g}")
        value = int(value) if value.is_integer() else value
    return cell_of(value)


def _unescaped(found: re.Match[str]) -> str:
    return chr(int(found.group(1), 16))


def _table(found: tuple[Numbered, list[str]]) -> tuple[list[str], Numbered, list[str]]:
    """Columns, rows and notes of the sheet: columns in which nothing stands are none."""
    numbered, notes = found
    sample = list(islice(numbered, SAMPLE_RECORDS))
    begins = place_of_header(_records(sample, _filled_places(sample)))
    sample = sample[begins:]
    places = _filled_places(sample)
    records = list(filter(None, _records(sample, places)))
    named = has_header(records, is_table=True)
    columns, said = header_of(sample[0][0], records[0], has_header=named, has_title=begins > 0)
    notes += said
    rows = chain(sample[1:] if named else sample, _telling(numbered, set(places), notes))
    return columns, ((number, _at(places, row)) for number, row in rows), notes


def _filled_places(rows: Sequence[tuple[int, Sequence[str | None]]]) -> list[int]:
    """The places of the columns in which something stands."""
    return sorted({place for _, row in rows for place, cell in enumerate(row) if cell})


def _records(
    rows: Sequence[tuple[int, Sequence[str | None]]], places: Sequence[int]
) -> list[list[str]]:
    return [[cell or "" for cell in _at(places, row)] for _, row in rows]


def _at(places: Sequence[int], row: Sequence[str | None]) -> list[str | None]:
    """The cells at ``places``; none where nothing stands in the whole row."""
    cells = [row[place] if place < len(row) else None for place in places]
    return cells if any(cells) else []


def _telling(numbered: Numbered, known: set[int], notes: list[str]) -> Numbered:
    """The rows up to the end of the table; what is below it or beside it is noted."""
    told, gap = False, 0
    for number, row in numbered:
        gap = 0 if row else gap + 1
        if gap == LONGEST_GAP:
            notes.append(f"The {gap:,} rows up to line {number:,} are empty: none below is read.")
            return
        if not told and any(cell for place, cell in enumerate(row) if place not in known):
            told = True
            notes.append(
                f"Line {number} has something beside the table, where no column has a name; "
                "it is not read."
            )
        yield number, row
