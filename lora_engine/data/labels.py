"""The labels of a data set: their order, their balance, and what is odd about them."""

import re
from collections.abc import Iterable, Mapping

from lora_engine.errors import DataError

LONGEST_LABEL = 200
"""Characters; a longer cell is a text and no label."""
MOST_LABELS = 1000
"""More different labels than this are taken for a wrong column."""
NAMED = 5
"""Labels that a sentence names before it says how many more there are."""
WHOLE_NUMBER = re.compile(r"[+-]?\d{1,15}")


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
    if all(WHOLE_NUMBER.fullmatch(label) for label in different):
        return tuple(sorted(different, key=lambda label: (int(label), label)))
    return tuple(sorted(different, key=lambda label: (label.casefold(), label)))


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
