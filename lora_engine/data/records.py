"""Delimited text → records, never losing a line to a stray quote.

Quoted records are read strictly by the csv module. Where that fails (text after a closing quote,
a quote that is never closed, a quote that swallows whole rows) the record's first line is taken
as it stands and reading goes on with the next line.
"""

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lora_engine.data.lines import LONGEST_LINE

LONGEST_RECORD = 4_000_000
"""Characters of a record with quoted line breaks; a longer one has a stray quote."""
RESCAN_BUDGET = 64_000_000
"""Characters read twice because of stray quotes; past it, quotes are no longer special."""
NO_DELIMITER = "\x1f"
"""Stands for "one column": a character that no table contains."""


@dataclass(frozen=True)
class Dialect:
    """How the lines of a table are cut into cells."""

    delimiter: str
    quoted: bool = True
    """Whether a cell may stand in double quotes; False takes quotes as they are."""
    skip_spaces: bool = False
    """Whether spaces after a delimiter belong to nothing."""

    def split(self, line: str) -> list[str]:
        """The cells of one line, quotes taken as they are; none of an empty line."""
        line = line.rstrip("\r\n")
        return line.split(self.delimiter) if line else []


class Records:
    """Iterates over ``(line number, cells)``; an empty line has no cells."""

    def __init__(self, lines: Iterable[str], dialect: Dialect) -> None:
        self._lines = iter(lines)
        self._dialect = dialect
        self._number = 1
        self._again: deque[str] = deque()
        self._taken: list[str] = []
        self._taken_size = 0
        self._budget = RESCAN_BUDGET
        self.width = 0
        """Cells that a record should have; 0 where that is not known yet."""
        self.stray_quotes = 0
        """Lines that were taken as they stand because of a stray quote."""
        self.first_stray = 0
        """The first of these lines; 0 where there is none."""
        self.doubtful: tuple[int, int] | None = None
        """First and last line of a record of which each line could be one by itself."""
        self.ended_inside = False
        """Whether the last record was still open where the lines ended."""

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        while self._dialect.quoted and self._budget > 0:
            try:
                yield from self._quoted()
                return
            except (csv.Error, _StrayQuoteError) as error:
                self.ended_inside = "end of data" in str(error)
                yield self._first_line_as_it_stands()
        for line in self._remaining():
            yield self._number, self._dialect.split(line)
            self._number += 1

    def _quoted(self) -> Iterator[tuple[int, list[str]]]:
        csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))
        reader = csv.reader(
            self._taking(),
            delimiter=self._dialect.delimiter,
            skipinitialspace=self._dialect.skip_spaces,
            strict=True,
        )
        for cells in reader:
            taken = len(self._taken)
            if taken > 1 and self._swallowed(cells):
                raise _StrayQuoteError
            if taken > 1 and self.doubtful is None and self._could_be_apart():
                self.doubtful = self._number, self._number + taken - 1
            yield self._number, cells
            self._number += taken
            self._taken.clear()
            self._taken_size = 0

    def _taking(self) -> Iterator[str]:
        """The lines, remembered until their record is complete."""
        for line in self._remaining():
            self._taken.append(line)
            self._taken_size += len(line)
            if self._taken_size > LONGEST_RECORD and len(self._taken) > 1:
                raise _StrayQuoteError
            yield line

    def _remaining(self) -> Iterator[str]:
        while True:
            if self._again:
                yield self._again.popleft()
            else:
                line = next(self._lines, None)
                if line is None:
                    return
                yield line

    def _swallowed(self, cells: list[str]) -> bool:
        """Whether a record of several lines has the wrong width where its first line is right."""
        if not self.width or len(cells) == self.width:
            return False
        return len(self._dialect.split(self._taken[0])) == self.width

    def _could_be_apart(self) -> bool:
        """Whether each line of a record, too, has as many cells as there are columns."""
        return self.width > 1 and all(
            len(self._dialect.split(line)) == self.width for line in self._taken
        )

    def _first_line_as_it_stands(self) -> tuple[int, list[str]]:
        first, *rest = self._taken
        self._again.extendleft(reversed(rest))
        self._budget -= self._taken_size
        self._taken.clear()
        self._taken_size = 0
        self.stray_quotes += 1
        self.first_stray = self.first_stray or self._number
        self._number += 1
        return self._number - 1, self._dialect.split(first)


class _StrayQuoteError(Exception):
    """A quote was opened that cannot be meant as one."""
