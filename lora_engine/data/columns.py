"""Columns as their names and first cells tell what they hold."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lora_engine.data.conversation import is_conversation
from lora_engine.data.labels import LONGEST_LABEL, MOST_LABELS, WHOLE_NUMBER, canonical
from lora_engine.data.names import KNOWN_NAMES, LABEL_NAMES, LABEL_PARTS, PAIR_NAMES, normalise

NUMBER = re.compile(r"\s*[-+]?\d[\d.,:/\- ]*%?\s*|true|false", re.IGNORECASE)
FEW_CLASSES = 20
"""Different whole numbers that may be classes even where few of them come again."""
LONGEST_WORDS = 60
"""Characters of a label in words, where few labels come again."""
OFTEN = 4
"""Rows a label from which on long ones are believed."""


@dataclass(frozen=True)
class Guess:
    """Roles for the columns of a table, and how they were found."""

    roles: dict[str, str]
    note: str = ""
    """A sentence where names did not help; else empty."""


class Columns:
    """Columns with their first cells."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[str | None]]) -> None:
        self.columns = columns
        self._cells = {
            name: [cell for row in rows if (cell := row[place]) and not cell.isspace()]
            for place, name in enumerate(columns)
        }

    def named(self) -> dict[str, str]:
        """Meaning → the column whose whole name says so; earlier names of a meaning win."""
        normal = {normalise(column): column for column in reversed(self.columns)}
        found = {}
        for meaning, names in KNOWN_NAMES.items():
            if name := next((name for name in names if name in normal), None):
                found[meaning] = normal[name]
        return found

    def named_in_part(self, named: Mapping[str, str]) -> dict[str, str]:
        """``named`` and the columns of text whose name holds a usual one, as in 标准答案."""
        found, taken = dict(named), set(named.values())
        for meaning, names in KNOWN_NAMES.items():
            if meaning in found:
                continue
            parts = [name for name in names if len(name) >= (5 if name.isascii() else 2)]
            for column in self.columns:
                normal = normalise(column)
                if (
                    column not in taken
                    and self.is_text(column)
                    and any(part in normal for part in parts)
                ):
                    found[meaning] = column
                    taken.add(column)
                    break
        return found

    def label(self) -> str | None:
        """The column that is named and filled like a label, if any."""
        normal = {normalise(column): column for column in reversed(self.columns)}
        exact = [normal[name] for name in LABEL_NAMES if name in normal]
        longer = [c for name, c in normal.items() if any(part in name for part in LABEL_PARTS)]
        candidates = (*exact, *reversed(longer))
        return next((column for column in candidates if self._is_label(column)), None)

    def pair(self) -> tuple[str, str] | None:
        """Two columns named like texts that are compared, if any."""
        normal = {normalise(column): column for column in reversed(self.columns)}
        names = next((pair for pair in PAIR_NAMES if set(pair) <= set(normal)), None)
        return (normal[names[0]], normal[names[1]]) if names else None

    def _is_label(self, column: str) -> bool:
        """Whether the cells are few different short words or whole numbers."""
        cells = self._labels_in(column)
        different = set(cells)
        longest = LONGEST_LABEL if OFTEN * len(different) <= len(cells) else LONGEST_WORDS
        if not cells or len(different) > MOST_LABELS or max(map(len, cells)) > longest:
            return False
        if all(WHOLE_NUMBER.fullmatch(cell) for cell in different):
            return len(different) <= max(FEW_CLASSES, len(cells) / 2)
        return len(different) < len(cells) or not any(" " in cell for cell in different)

    def _labels_in(self, column: str) -> list[str]:
        """The cells as labels, one number written in one way."""
        return [canonical(cell.strip()) for cell in self._cells[column]]

    def _is_class_number(self, column: str) -> bool:
        """Whether the cells are classes by number, such as 0 and 1 or 1 to 5, again and again."""
        cells = self._labels_in(column)
        if not all(WHOLE_NUMBER.fullmatch(cell) for cell in cells):
            return False
        numbers = {int(cell) for cell in cells}
        return (
            2 <= len(numbers) <= min(FEW_CLASSES, len(cells) / 2)
            and min(numbers) in (-1, 0, 1)
            and max(numbers) - min(numbers) < len(numbers)
        )

    def with_numbers(self, text: str) -> Guess | None:
        """``text`` with a column of class numbers beside it, where there is one."""
        numbers = [column for column in self.columns if self._is_class_number(column)]
        if text in numbers or len(numbers) != 1:
            return None
        return Guess(
            {"text": text, "label": numbers[0]},
            f"“{numbers[0]}” holds few different numbers, so it is taken as the label of “{text}”.",
        )

    def holds_conversations(self, column: str) -> bool:
        """Whether most cells of a column are lists of turns."""
        cells = self._cells[column][:50]
        return bool(cells) and sum(map(is_conversation, cells)) > len(cells) / 2

    def is_text(self, column: str) -> bool:
        """Whether most cells are neither numbers nor true and false."""
        cells = self._cells[column]
        return sum(not NUMBER.fullmatch(cell[:40]) for cell in cells) > len(cells) / 2

    def is_prose(self, column: str) -> bool:
        """Whether a column holds text that differs from row to row, unlike a label."""
        cells = self._cells[column]
        length = sum(map(len, cells)) / max(1, len(cells))
        return self.is_text(column) and (len(set(cells)) > len(cells) / 2 or length > 40)

    def from_cells(self) -> Guess:
        """Roles where no name helps: two columns of text are question and answer, one is text."""
        for suits in (self.is_prose, self.is_text, self._is_filled, self._any):
            if fitting := [column for column in self.columns if suits(column)]:
                break
        longest = sorted(fitting, key=self._length, reverse=True)[:2]
        if len(longest) == 1:
            return self.with_numbers(longest[0]) or Guess(
                {"text": longest[0]}, self._why_text(longest[0])
            )
        first, second = sorted(longest, key=list(self.columns).index)
        return Guess(
            {"prompt": first, "completion": second},
            f"No column has a usual name, so “{first}” is taken as the question and "
            f"“{second}” as the answer.",
        )

    def _why_text(self, column: str) -> str:
        if normalise(column) in KNOWN_NAMES["prompt"] + KNOWN_NAMES["instruction"]:
            return (
                f"There is no column with answers to “{column}”, so it is taken as plain text: the "
                "model would learn to write such texts, not to answer them."
            )
        return f"No column has a usual name, so “{column}” is taken as plain text."

    def _length(self, column: str) -> int:
        return sum(map(len, self._cells[column]))

    def _is_filled(self, column: str) -> bool:
        return bool(self._cells[column])

    @staticmethod
    def _any(_: str) -> bool:
        return True
