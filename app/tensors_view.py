"""The table of a model's tensors as HTML."""

from collections.abc import Sequence
from math import prod

from app.html import facts, muted, row_html, text
from app.wording import tensors as words
from lora_engine.table import TensorRow

MOST_SHOWN = 1500


def tensors_html(rows: Sequence[TensorRow]) -> str:
    """How much the rows hold together, and one line each."""
    if not rows:
        return muted(words.NOTHING)
    sizes = [prod(row.shape) for row in rows]
    trained = sum(size for row, size in zip(rows, sizes, strict=True) if row.trainable)
    summary = facts(
        [
            (words.COUNT, f"{len(rows):,}"),
            (words.NUMBERS, f"{sum(sizes):,}"),
            (words.TRAINED, f"{trained:,}"),
        ]
    )
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in words.COLUMNS)
    body = "".join(map(_line, rows[:MOST_SHOWN]))
    more = ""
    if len(rows) > MOST_SHOWN:
        more = muted(words.MORE.format(shown=f"{MOST_SHOWN:,}", count=f"{len(rows):,}"))
    return (
        f'{summary}<div class="scroll tall" tabindex="0" role="region"'
        f' aria-label="{text(words.TITLE)}"><table class="rows stacked tensors">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{more}"
    )


def _line(row: TensorRow) -> str:
    trained = words.YES if row.trainable else words.NO
    shape = " × ".join(f"{size:,}" for size in row.shape)
    cells = [text(each) for each in (row.name, shape, row.dtype, trained)]
    return row_html(words.COLUMNS, cells, "trained" if row.trainable else "frozen")
