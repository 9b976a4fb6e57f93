"""Which delimiter a table has, whether quotes are quotes, and whether it has a header."""

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from lora_engine.data.names import is_known_name
from lora_engine.data.records import NO_DELIMITER, Dialect, Records

SAMPLE_RECORDS = 2000
CONSISTENT = 0.8
"""Share of records with the header's width from which a delimiter is believed by itself."""
NUMBER = re.compile(r"\s*[-+]?\d[\d.,:/\- ]*%?\s*")
SENTENCE_END = re.compile(r"[.?!。？！…][\"'”’)」』]*\s*$")
LONGEST_NAME = 60
SAYS_DELIMITER = re.compile(r"sep=([,;\t])\s*", re.IGNORECASE)
"""A first line as Excel writes and obeys it."""


@dataclass(frozen=True)
class Layout:
    """How to read a table."""

    dialect: Dialect
    has_header: bool
    first_stray: int = 0
    """The line whose quote is why no quotes are special; 0 where there is none."""
    skips_first: bool = False
    """Whether the first line says the delimiter and is no row."""


def detect(sample: str, *, complete: bool, suffix: str) -> Layout:
    """Find the layout from the beginning of a table's text.

    Args:
        sample: the first characters, with their line ends.
        complete: whether ``sample`` is the whole text.
        suffix: the file name's, such as ``.csv``; decides where the text does not.
    """
    lines = list(io.StringIO(sample, newline=""))
    if not complete and len(lines) > 1:
        lines.pop()  # cut in the middle
    said = SAYS_DELIMITER.fullmatch(lines[0]) if lines else None
    if said:
        del lines[0]
    trials = _candidates(lines, complete, said.group(1) if said else None)
    best = max(trials, key=lambda trial: trial.key, default=None)
    named_so = suffix in (".csv", ".tsv")
    stray = 0
    if best and (said or named_so or best.is_believable):
        dialect, records, stray = best.dialect, best.records, best.first_stray
    else:
        dialect = Dialect(NO_DELIMITER, quoted=named_so)
        records = _Trial.of(lines, dialect, complete).records
    header = has_header(records, named_so or dialect.delimiter != NO_DELIMITER)
    if stray and said:
        stray += 1
    return Layout(dialect, header, 0 if dialect.quoted else stray, said is not None)


@dataclass(frozen=True)
class _Trial:
    """What the sample looks like when it is read in one dialect."""

    dialect: Dialect
    records: list[list[str]]
    stray_quotes: int
    first_stray: int

    @classmethod
    def of(cls, lines: Iterable[str], dialect: Dialect, complete: bool, stray: int = 0) -> "_Trial":
        """``stray`` is the line whose quote made quotes be tried as they are."""
        reader = Records(lines, dialect)
        records = []
        for _, cells in islice(reader, SAMPLE_RECORDS):
            if reader.ended_inside and not complete:
                break
            if cells:
                records.append(cells)
        return cls(dialect, records, reader.stray_quotes, stray or reader.first_stray)

    @property
    def width(self) -> int:
        return len(self.records[0]) if self.records else 0

    @property
    def share(self) -> float:
        """Share of the records that are as wide as the first."""
        same = sum(len(cells) == self.width for cells in self.records)
        return same / max(1, len(self.records))

    @property
    def known(self) -> bool:
        """Whether the first record holds a name that is usual in headers."""
        return bool(self.records) and any(map(is_known_name, self.records[0]))

    @property
    def is_believable(self) -> bool:
        """Whether this is a table and no prose: sentences have commas, too."""
        consistent = self.share >= CONSISTENT
        punctuation = self.dialect.delimiter in ",;"
        return self.known or (consistent and (not punctuation or has_header(self.records, True)))

    @property
    def key(self) -> tuple[bool, float, bool, int]:
        return self.known, round(self.share, 3), not self.stray_quotes, self.width


def _candidates(lines: list[str], complete: bool, said: str | None) -> Iterable[_Trial]:
    for delimiter in said or ",;\t":
        if not any(delimiter in line for line in lines):
            continue
        trial = _Trial.of(lines, Dialect(delimiter), complete)
        trials = [trial]
        if trial.stray_quotes:
            plain = Dialect(delimiter, quoted=False)
            trials.append(_Trial.of(lines, plain, complete, trial.first_stray))
        if trial.share < 1:
            trials.append(_Trial.of(lines, Dialect(delimiter, skip_spaces=True), complete))
        yield from (each for each in trials if each.width > 1)
    if lines and "||" in lines[0]:
        yield _Trial.of(lines, Dialect("||", quoted=False), complete)


def has_header(records: list[list[str]], is_table: bool) -> bool:
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


def _numbers_below(records: list[list[str]], place: int) -> bool:
    """Whether nearly all records hold a number or a date at ``place``."""
    cells = [cells[place] for cells in records if place < len(cells)]
    return bool(cells) and sum(map(_is_number, cells)) > 0.9 * len(cells)


def _is_number(cell: str) -> bool:
    # the pattern takes the square of a cell's length, and no number is long
    return len(cell) <= LONGEST_NAME and NUMBER.fullmatch(cell) is not None
