"""CSV, TSV, semicolon and plain text files → columns and rows."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from lora_engine.data.dialect import Layout
from lora_engine.data.lines import READ_ERROR, Lines, Row, Source
from lora_engine.data.nouns import ProblemKind
from lora_engine.data.records import NO_DELIMITER, Records
from lora_engine.errors import DataError

MOST_COLUMNS = 1000
MARKS_THAT_QUOTES_HIDE = (",", ";")
"""Delimiters that occur in texts, so that cells need quotes; tabs do not, and tables with tabs
often have loose quotes on purpose (MRPC)."""


def read_table(lines: Lines, layout: Layout) -> Source:
    """The rows of a delimited file; a row of another width than the header is a problem.

    Raises:
        DataError: it has no line, or its header cannot be used.
    """
    records = Records(lines, layout.dialect)
    numbered = iter(records)
    if layout.skips_first:
        next(numbered)
    begins = layout.begins
    first = next(((line, cells) for line, cells in numbered if cells and line >= begins), None)
    if first is None:
        raise DataError("The file is empty; choose one with a header and at least one row.")
    columns, notes = header_of(*first, has_header=layout.has_header, has_title=layout.has_title)
    if not layout.has_header:
        numbered = chain([first], numbered)
    records.width = len(columns)
    delimiter = layout.dialect.delimiter
    plain = delimiter == NO_DELIMITER and not layout.has_header
    rows: Iterator[Row] = rows_of(numbered, len(columns), lossy=lines.charset.lossy, plain=plain)
    if delimiter in MARKS_THAT_QUOTES_HIDE:
        rows = chain(rows, _stray_quotes(records, layout, notes))
    elif layout.dialect.quoted:
        rows = chain(rows, _doubtful(records, notes))
    return Source(
        format="text" if plain else "tsv" if delimiter == "\t" else "csv",
        encoding=lines.charset.encoding,
        delimiter="" if delimiter == NO_DELIMITER else delimiter,
        columns=columns,
        rows=rows,
        fraction=lines.fraction,
        notes=notes,
    )


def _stray_quotes(records: Records, layout: Layout, notes: list[str]) -> Iterator[Row]:
    """No row; asked for one when all are read, it notes the first quote that is none."""
    yield from ()
    if layout.first_stray:
        notes.append(
            f"Line {layout.first_stray} has a quotation mark that does not enclose a whole cell, "
            "so all of them are read as they stand; look at that line."
        )
    elif records.first_stray:
        more = (
            f" (and so have {records.stray_quotes - 1:,} more)" if records.stray_quotes > 1 else ""
        )
        notes.append(
            f"Line {records.first_stray} has a quotation mark that does not enclose a whole cell"
            f"{more}; it is read as it stands, so look at that line."
        )


def _doubtful(records: Records, notes: list[str]) -> Iterator[Row]:
    """No row; asked for one when all are read, it notes lines that may be rows of their own."""
    yield from ()
    if records.doubtful:
        first, last = records.doubtful
        notes.append(
            f"Lines {first} to {last} are read as one row, since a pair of quotation marks "
            "encloses what is between; if each of them is a row, take these marks away."
        )


def header_of(
    number: int, cells: Sequence[str], *, has_header: bool, has_title: bool = False
) -> tuple[list[str], list[str]]:
    """The names of the columns, and a sentence where they have none or a title stands above them.

    Args:
        number: the line of the first row.
        cells: what the first row says.
        has_header: whether it names the columns.
        has_title: whether lines above it are left out.

    Raises:
        DataError: a name comes twice, or there are more columns than are read.
    """
    if len(cells) > MOST_COLUMNS:
        raise DataError(f"The header has {len(cells)} columns; at most {MOST_COLUMNS} are read.")
    if has_header:
        return _column_names(cells), [_title(number)] if has_title else []
    said = f"Line {number} looks like a row, not like a header: the columns have numbers."
    return [f"column {place}" for place in range(1, len(cells) + 1)], [said]


def _title(number: int) -> str:
    above = "first line was" if number == 2 else f"first {number - 1} lines were"
    return f"The {above} taken for a title and left out; line {number} names the columns."


def _column_names(header: Sequence[str]) -> list[str]:
    """The header's names without spaces around them; a nameless column gets its number."""
    names = [cell.strip() or f"column {place}" for place, cell in enumerate(header, start=1)]
    for place, name in enumerate(names):
        if (before := names.index(name)) < place:
            raise DataError(
                f"The header has the name “{name}” twice, in columns {before + 1} and "
                f"{place + 1}; give each column its own name."
            )
    return names


def rows_of(
    numbered: Iterable[tuple[int, Sequence[str | None]]],
    width: int,
    *,
    lossy: bool = False,
    plain: bool = False,
) -> Iterator[Row]:
    """Records as rows; empty lines are worth a word only between rows of a table.

    Args:
        numbered: line and cells of each record; an empty line has no cells.
        width: how many cells a row has.
        lossy: whether some cells may hold bytes that could not be read.
        plain: whether this is plain text, in which empty lines mean nothing.
    """
    empty: tuple[int, int] | None = None
    for number, cells in numbered:
        if not cells:
            empty = (empty[0] if empty else number, number)
            continue
        if empty and not plain:
            yield Row.empty(*empty)
        empty = None
        if len(cells) != width:
            kind: ProblemKind = "missing" if len(cells) < width else "broken"
            yield Row.bad(number, kind, f"has {_cells(len(cells))}, but the header has {width}")
        elif lossy and any(READ_ERROR in cell for cell in cells if cell):
            yield Row.bad(number, "broken", "holds bytes that are not in the file's encoding")
        else:
            yield Row(number, cells)


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"
