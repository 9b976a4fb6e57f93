"""The labels of a data set: their order, their balance, and what is odd about them."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache

from lora_engine.errors import DataError

LONGEST_LABEL = 200
"""Characters; a longer cell is a text and no label."""
MOST_LABELS = 1000
"""More different labels than this are taken for a wrong column."""
NAMED = 5
"""Labels that a sentence names before it says how many more there are."""
WHOLE_NUMBER = re.compile(r"[+-]?\d{1,15}")
NUMBER = re.compile(r"[+-]?\d{0,15}(?:\.\d{1,15})?(?<=\d)", re.ASCII)
WRITTEN_WHOLE = re.compile(r"([+-]?)(0|[1-9]\d{0,14})(?:\.0{1,15})?", re.ASCII)
"""A whole number and no code, which may begin with zeros or be longer."""
LONGEST_NUMBER = 32
"""Characters of one."""
TRUTH = ("true", "false")


class TooManyLabelsError(DataError):
    """A column that is taken for labels holds something else."""

    def __init__(self) -> None:
        super().__init__(
            f"The column of labels holds more than {MOST_LABELS:,} different ones; choose the "
            "column that names the class of each row."
        )


def ordered(labels: Iterable[str]) -> tuple[str, ...]:
    """The different labels in the order of their classes: numbers by value, words by alphabet.

    Of two labels the second is the positive one: 1 of 0 and 1, ``positive`` of ``negative`` and
    ``positive``, ``true`` of ``false`` and ``true``, ``yes`` of ``no`` and ``yes``.
    """
    different = set(labels)
    if all(NUMBER.fullmatch(label) for label in different):
        return tuple(sorted(different, key=lambda label: (Decimal(label), label)))
    return tuple(sorted(different, key=lambda label: (label.casefold(), label)))


def canonical(label: str) -> str:
    """The same for labels that are one whole number or one truth value, however they are written:
    1 and 1.0 (which is how pandas writes whole numbers where a row has none), true, True and TRUE.

    Others are what they are: ``US`` and ``us``, codes such as ``01``, versions such as ``3.10``.
    """
    return _canonical(label) if len(label) <= LONGEST_NUMBER else label


@lru_cache(maxsize=4 * MOST_LABELS)
def _canonical(label: str) -> str:
    if found := WRITTEN_WHOLE.fullmatch(label):
        sign, number = found.groups()
        return f"-{number}" if sign == "-" and number != "0" else number
    folded = label.casefold()
    return folded if folded in TRUTH else label


class Classes:
    """The number of a label's class, however the label is written."""

    def __init__(self, labels: Sequence[str]) -> None:
        """``labels`` stand in the order of their classes."""
        self._labels = labels
        self._places = {label: place for place, label in enumerate(labels)}
        for place, label in enumerate(labels):
            self._places.setdefault(canonical(label), place)

    def place(self, label: str) -> int | None:
        """The number of the class; None where there is none."""
        found = self._places.get(label)
        return self._places.get(canonical(label)) if found is None else found

    def shown(self, label: str) -> str:
        """How the label is shown: as its class is called, if there is one."""
        place = self.place(label)
        return label if place is None else self._labels[place]


def merged(counts: Mapping[str, int]) -> tuple[dict[str, int], str]:
    """The counts with labels that mean the same as one, and a sentence where there are some.

    Of a number the shortest form is taken, of a truth value the most frequent.
    """
    forms: dict[str, Counter[str]] = {}
    for label, count in counts.items():
        forms.setdefault(canonical(label), Counter())[label] = count
    together, said = {}, []
    for meant, written in forms.items():
        if meant in TRUTH:
            shown = max(written, key=lambda label: (written[label], label))
        else:
            shown = min(written, key=lambda label: (len(label), label))
        together[shown] = written.total()
        if others := [label for label in written if label != shown]:
            said.append(f"“{shown}” (also written {_named(others)})")
    if not said:
        return together, ""
    more = f" and {len(said) - NAMED:,} more" if len(said) > NAMED else ""
    named = f"{', '.join(said[:NAMED])}{more}"
    return together, f"Labels that differ only in how they are written count as one: {named}."


def counted(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts in the order of the classes."""
    return {label: counts[label] for label in ordered(counts)}


def remarks(counts: Mapping[str, int]) -> tuple[str, ...]:
    """Sentences on labels that cannot be learned well, for the page; none where all is well."""
    if len(counts) == 1:
        return (only_one(next(iter(counts))),)
    found = []
    if once := [label for label, count in counts.items() if count == 1]:
        have = "label occurs" if len(once) == 1 else "labels occur"
        found.append(
            f"{len(once):,} {have} only once ({_named(once)}): one row is not enough to learn "
            "from and to measure with; add rows, or leave these out."
        )
    rarest, most = min(counts.values(), default=0), max(counts.values(), default=0)
    if most > 10 * rarest and rarest > 1:
        rare = next(label for label, count in counts.items() if count == rarest)
        found.append(
            f"The labels are out of balance: “{rare}” has {rarest:,} rows, the largest {most:,}; "
            "class weights help the small ones."
        )
    return tuple(found)


def only_one(label: str) -> str:
    """Why one label is not enough."""
    return (
        f"Every row has the label “{label}”, so there is nothing to tell apart: add rows with "
        "another label, or choose another column."
    )


def _named(labels: list[str]) -> str:
    shown = ", ".join(f"“{label}”" for label in labels[:NAMED])
    return shown + (f" and {len(labels) - NAMED:,} more" if len(labels) > NAMED else "")
