"""Which row of a table names its columns, and whether one does; a title may stand above it."""

import re
from collections.abc import Sequence

from lora_engine.data.names import is_known_name

NUMBER = re.compile(r"\s*[-+]?\d[\d.,:/\- ]*%?\s*")
SENTENCE_END = re.compile(r"[.?!。？！…][\"'”’)」』]*\s*$")
LONGEST_NAME = 60
MOST_ABOVE = 20
"""Rows that may stand above a header, empty ones counted."""
CONSISTENT = 0.8
"""Share of the rows from which on they are all alike."""

Cells = Sequence[str]


def has_header(records: Sequence[Cells], is_table: bool) -> bool:
    """Whether the first record names the columns: believed unless it looks like a row.

    Args:
        records: the first rows; those that are empty left out.
        is_table: whether there are columns for sure, even if there is only one.
    """
    if not records:
        return False
    first, rest = records[0], records[1:]
    if any(map(is_known_name, first)):
        return True
    if not is_table or any(_is_number(cell) for cell in first):
        return False
    if any(_numbers_below(rest, place) for place in range(len(first))):
        return True
    return not any(len(cell) > LONGEST_NAME or SENTENCE_END.search(cell) for cell in first)


def place_of_header(records: Sequence[Cells], *, by_names_only: bool = False) -> int:
    """The place of the record with which a table begins: below empty ones, and below a title.

    A title fills one cell where the rows below it fill more. A header may do so as well, as in a
    table with numbered rows, so that the record below a title must look like a header itself. At
    usual names it is known without doubt: then the lines above may say more, such as a date.

    Args:
        records: the first rows, the empty ones among them.
        by_names_only: believe only in a header with usual names, as where it is not sure that
            this is a table.
    """
    filled = list(map(_filled, records[: MOST_ABOVE + 1]))
    begins = next((place for place, cells in enumerate(filled) if cells), 0)
    for place in range(begins + 1, len(filled)):
        above = list(filter(None, filled[begins:place]))
        if _is_known_header(filled[place], above):
            return place
        is_first = len(filled[place]) > 1 and all(len(cells) == 1 for cells in above)
        if is_first and not by_names_only and _is_below_title(records, place):
            return place
    return begins


def _is_known_header(names: Cells, above: Sequence[Cells]) -> bool:
    """Whether several cells are usual names, below rows that say less and have none."""
    return sum(map(is_known_name, names)) > 1 and all(
        len(cells) < len(names) and (len(cells) == 1 or not any(map(is_known_name, cells)))
        for cells in above
    )


def _is_below_title(records: Sequence[Cells], place: int) -> bool:
    """Whether the record at ``place``, the first that fills several cells, is a header."""
    names, rows = records[place], list(filter(_says, records[place + 1 :]))
    titles = list(filter(_says, records[:place]))
    if min(map(_first_filled, titles)) > _first_filled(names):
        return False  # the columns before it have no name
    if any(is_known_name(cell) for cells in titles for cell in cells):
        return False
    if not all(_is_name(cell) for cell in names if cell.strip()):
        return False
    alike = sum(len(cells) == len(names) and len(_filled(cells)) > 1 for cells in rows)
    if not rows or alike < CONSISTENT * len(rows):
        return False
    return (
        any(map(is_known_name, names))
        or not _says(records[place - 1])
        or any(_other_below(rows, at) for at, cell in enumerate(names) if cell.strip())
    )


def _filled(cells: Cells) -> list[str]:
    return [cell for cell in cells if cell.strip()]


def _says(cells: Cells) -> bool:
    return any(map(str.strip, cells))


def _first_filled(cells: Cells) -> int:
    return next((place for place, cell in enumerate(cells) if cell.strip()), 0)


def _is_name(cell: str) -> bool:
    """Whether a cell could name a column; text that begins with a space is a piece of prose."""
    short = len(cell) <= LONGEST_NAME and not cell[0].isspace()
    return short and not _is_number(cell) and not SENTENCE_END.search(cell)


def _other_below(records: Sequence[Cells], place: int) -> bool:
    """Whether what stands at ``place`` is mostly no name: numbers, sentences, long texts."""
    cells = [cell for cells in records if place < len(cells) and (cell := cells[place].strip())]
    return sum(not _is_name(cell) for cell in cells) > len(cells) / 2


def _numbers_below(records: Sequence[Cells], place: int) -> bool:
    """Whether nearly all records hold a number or a date at ``place``."""
    cells = [cells[place] for cells in records if place < len(cells)]
    return bool(cells) and sum(map(_is_number, cells)) > 0.9 * len(cells)


def _is_number(cell: str) -> bool:
    # the pattern takes the square of a cell's length, and no number is long
    return len(cell) <= LONGEST_NAME and NUMBER.fullmatch(cell) is not None
