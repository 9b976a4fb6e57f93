"""Answers to a whole file, as HTML: what came of it, the first rows, and the file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from app.clock import file_size
from app.html import table_html, text
from app.wording import answers as words
from jobs.job import Job

LONGEST_SHOWN = 300
"""Characters of a cell."""


def answers_html(
    job: Job, path: Path, found: dict[str, Any], rows: Sequence[dict[str, str | None]]
) -> str:
    """The sentence, the first ``rows`` with what was asked and answered, and a link to all."""
    label = words.LINK.format(size=file_size(path.stat().st_size))
    link = f'<a class="button" href="{quote(f"adapters/{job.id}.answers")}" download>'
    shown = [*found["roles"].values(), *found["columns"]]
    return (
        f'<p class="learn">{text(found["sentence"])}</p>{_table(shown, rows)}'
        f"{link}{text(label)}</a>"
    )


def _table(columns: Sequence[str], rows: Sequence[dict[str, str | None]]) -> str:
    lines = [[text(_short(row.get(column) or "")) for column in columns] for row in rows]
    return table_html(words.FIRST_ROWS, columns, lines, "answers")


def _short(cell: str) -> str:
    return cell if len(cell) <= LONGEST_SHOWN else f"{cell[:LONGEST_SHOWN]} …"
