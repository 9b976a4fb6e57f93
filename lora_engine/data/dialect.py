"""Which delimiter a table has, whether quotes are quotes, and where its header stands."""

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from lora_engine.data.header import CONSISTENT, has_header, place_of_header
from lora_engine.data.names import is_known_name
from lora_engine.data.records import NO_DELIMITER, Dialect, Records

SAMPLE_RECORDS = 2000
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
    begins: int = 1
    """The line with which the table begins; what stands above it is no row."""
    has_title: bool = False
    """Whether something is said above it."""


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
    if best and (said or named_so or best.is_believable):
        trial, stray = best, best.first_stray
    else:
        trial, stray = _Trial.of(lines, Dialect(NO_DELIMITER, quoted=named_so), complete), 0
    dialect = trial.dialect
    header = has_header(trial.records, named_so or dialect.delimiter != NO_DELIMITER)
    shift = 1 if said else 0
    return Layout(
        dialect,
        header,
        first_stray=stray + shift if stray and not dialect.quoted else 0,
        skips_first=said is not None,
        begins=trial.begins + shift,
        has_title=trial.has_title,
    )


@dataclass(frozen=True)
class _Trial:
    """What the sample looks like when it is read in one dialect."""

    dialect: Dialect
    records: list[list[str]]
    """From the header on."""
    begins: int
    """The line of the first of them."""
    has_title: bool
    """Whether something is said above it."""
    stray_quotes: int
    first_stray: int

    @classmethod
    def of(cls, lines: Iterable[str], dialect: Dialect, complete: bool, stray: int = 0) -> "_Trial":
        """``stray`` is the line whose quote made quotes be tried as they are."""
        reader = Records(lines, dialect)
        numbers, records = [], []
        for number, cells in islice(reader, SAMPLE_RECORDS):
            if reader.ended_inside and not complete:
                break
            numbers.append(number)
            records.append(cells)
        place = 0
        if dialect.delimiter != NO_DELIMITER:
            place = place_of_header(records, by_names_only=dialect.skip_spaces)
        return cls(
            dialect,
            records=list(filter(None, records[place:])),
            begins=numbers[place] if numbers else 1,
            has_title=any(cell.strip() for cells in records[:place] for cell in cells),
            stray_quotes=reader.stray_quotes,
            first_stray=stray or reader.first_stray,
        )

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
