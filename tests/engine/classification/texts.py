"""Texts with labels, as tables."""

import csv
import itertools
from pathlib import Path

THINGS = ("sea", "light", "boat", "keeper")
DOINGS = ("is calm", "burns", "asks what", "comes home", "is home now", "burns now")
Rows = list[dict[str, str]]


def rows_of(labels: tuple[str, str] = ("calm", "loud")) -> Rows:
    """Texts whose label is whether they speak of the sea or a boat."""
    texts = [f"the {thing} {doing}" for thing, doing in itertools.product(THINGS, DOINGS)]
    return [
        {"text": text, "label": labels["sea" in text or "boat" in text], "note": "x"}
        for text in texts
    ]


def write(path: Path, rows: Rows) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return path
