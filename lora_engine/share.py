"""A share of a data set's rows, as a model and as a person reads them."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from lora_engine.batches import Example
from lora_engine.data.encode import Encoded
from lora_engine.data.nouns import Sample

Watch = Callable[[], None]
BESIDE = ("line", "group")
"""Columns that no model reads."""


@dataclass(frozen=True)
class Share:
    """Some rows of encoded data: those to train on, to validate with, or of a test file."""

    name: str
    """The data set's."""
    encoded: Encoded
    rows: list[int]
    """Positions in ``encoded.rows``."""
    samples: Callable[[], Iterator[Sample]]
    """All usable rows of the data set, in file order."""
    watch: Watch = lambda: None
    """Called before each of the handfuls that ``in_order`` gives; may raise to end it."""

    def __len__(self) -> int:
        return len(self.rows)

    def examples(self, places: Collection[int]) -> list[Example]:
        """The examples at ``places`` of this share."""
        columns = self.encoded.rows.take(self.rows[place] for place in places)
        names = [name for name in columns if name not in BESIDE]
        rows = zip(*(columns[name] for name in names), strict=True)
        return [dict(zip(names, row, strict=True)) for row in rows]

    def in_order(self, at_once: int = 64) -> Iterator[list[Example]]:
        """All examples, some at a time."""
        for start in range(0, len(self), at_once):
            self.watch()
            yield self.examples(range(start, min(len(self), start + at_once)))

    def said(self, places: Collection[int]) -> dict[int, Sample]:
        """The samples at ``places`` of this share."""
        lines = self.encoded.rows.take(self.rows[place] for place in places)["line"]
        wanted = dict(zip(lines, places, strict=True))
        return {wanted[s.line]: s for s in self.samples() if s.line in wanted}
