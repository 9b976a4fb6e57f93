"""The lines of a text file, counted, and what every kind of file is read into."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self, TextIO

from lora_engine.data.charset import Charset
from lora_engine.data.nouns import Format, ProblemKind
from lora_engine.errors import DataError

LONGEST_LINE = 16_000_000
"""Characters; a longer line means that the file is no table of rows."""
READ_ERROR = "\N{REPLACEMENT CHARACTER}"


class Row(NamedTuple):
    """One row of a file; where ``problem`` is set there are no cells."""

    line: int
    """Line on which the row begins, or its number in the sheet; the first of the file is 1."""
    cells: Sequence[str | None]
    """As many as there are columns; None where a row lacks the field."""
    problem: tuple[ProblemKind, str] | None = None
    """The kind and a sentence."""

    @classmethod
    def bad(cls, line: int, kind: ProblemKind, reason: str) -> "Row":
        """A row that cannot be read; ``reason`` goes on after "Line 7"."""
        return cls(line, (), (kind, f"Line {line} {reason}."))

    @classmethod
    def empty(cls, first: int, last: int) -> "Row":
        """Empty lines between rows."""
        return cls.bad(first, "empty", empty_lines(first, last))


@dataclass
class Source:
    """An open file as columns and rows."""

    format: Format
    encoding: str
    """Empty where the file is no text."""
    delimiter: str
    """Empty for what is no delimited text, and for one column."""
    columns: list[str]
    rows: Iterator[Row]
    """In file order; can be read once. Raises DataError where the file cannot be read on."""
    fraction: Callable[[], float]
    """Share of the file that was read, from 0 to 1."""
    notes: list[str] = field(default_factory=list)
    """Sentences on what was decided; complete when the rows are read."""


def empty_lines(first: int, last: int) -> str:
    """What is wrong with line ``first`` where all lines up to ``last`` are empty."""
    return "is empty" if first == last else f"is empty, and so is all up to line {last}"


class Lines:
    """Iterates over the lines of a text file, ends kept; a context manager."""

    def __init__(self, path: Path, charset: Charset) -> None:
        self._binary = path.open("rb")
        self._size = max(1, path.stat().st_size)
        self.charset = charset
        self.text: TextIO = _text(self._binary, charset)
        self.number = 0
        """Number of the line that was given last."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.text.readline(LONGEST_LINE)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) >= LONGEST_LINE:
            raise DataError(
                f"Line {self.number} is longer than {LONGEST_LINE:,} characters; "
                "a table has one row on each line."
            )
        return line

    def fraction(self) -> float:
        """Share of the file that was read, from 0 to 1."""
        return min(1.0, self._binary.tell() / self._size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.text.close()


def _text(binary: BinaryIO, charset: Charset) -> TextIO:
    errors = "replace" if charset.lossy else "strict"
    # newline="" keeps \r, \n and \r\n as they stand, and ends a line at each of them
    return io.TextIOWrapper(binary, charset.encoding, errors, newline="")
