"""Small pieces of safe HTML. Everything that comes from a person or a model goes through text()."""

from collections.abc import Sequence
from html import escape
from typing import Literal

NoticeKind = Literal["error", "warning", "success", "info", "busy"]


def text(value: object) -> str:
    """``value`` as text inside HTML or an attribute: nothing in it is ever run."""
    shown = str(value).encode("utf-8", "replace").decode("utf-8")  # half characters cannot be sent
    return escape(shown, quote=True)


def notice(kind: NoticeKind, sentence: str) -> str:
    """A sentence in a coloured box; read aloud at once where it is an error."""
    role = "alert" if kind == "error" else "status"
    return (
        f'<div class="notice {kind}" role="{role}"><span class="mark" aria-hidden="true"></span>'
        f"<span>{text(sentence)}</span></div>"
    )


def busy(sentence: str, share: float | None) -> str:
    """A notice of work that goes on, with how much of it is done (0 to 1) where that is known."""
    percent = "" if share is None else f"{100 * share:.0f}"
    now = f' aria-valuenow="{percent}"' if percent else ""
    bar = f'<i style="width:{percent}%">' if percent else '<i class="unknown">'
    return (
        f'<div class="notice busy bar" role="status"><span>{text(sentence)}</span>'
        f'<span class="progress" role="progressbar" aria-valuemin="0" aria-valuemax="100"'
        f'{now} aria-label="{text(sentence)}">{bar}</i></span></div>'
    )


def heading(title: str, hint: str = "") -> str:
    """A section's heading with one muted sentence below."""
    below = f'<p class="hint">{text(hint)}</p>' if hint else ""
    return f'<div class="heading"><h2>{text(title)}</h2>{below}</div>'


def empty_state(title: str, hint: str) -> str:
    """What a place shows while it has nothing yet, and what to do about it."""
    return f'<div class="empty"><p class="title">{text(title)}</p><p>{text(hint)}</p></div>'


def pill(kind: str, label: str) -> str:
    """A short state in a rounded box; ``kind`` picks its colour."""
    return f'<span class="pill {text(kind)}">{text(label)}</span>'


def fact(label: str, value: str) -> str:
    """One labelled value of a row of facts."""
    return f'<div class="fact"><dt>{text(label)}</dt><dd>{text(value)}</dd></div>' if value else ""


def facts(pairs: list[tuple[str, str]]) -> str:
    """A row of labelled values; empty values are left out."""
    return f'<dl class="facts">{"".join(fact(label, value) for label, value in pairs)}</dl>'


def plural(count: int, one: str, many: str = "") -> str:
    """``1 row``, ``2 rows``, ``1,000 rows``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


CLICKS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-action]');
  if (button) trigger('click', {action: button.dataset.action, id: button.dataset.id || ''});
});
"""
"""For ``gr.HTML(js_on_load=...)``: a click on a ``data-action`` button becomes an event."""


def muted(sentence: str) -> str:
    """A quiet sentence."""
    return f'<p class="muted">{text(sentence)}</p>'


def help_text(sentence: str) -> str:
    """What a control does, below it."""
    return f'<p class="help">{text(sentence)}</p>'


def row_html(names: Sequence[str], cells: Sequence[str], kind: str = "") -> str:
    """A line of a table whose cells, HTML already, know the names of their columns.

    A narrow window sets such cells below each other (``stacked`` in page.css).
    """
    shown = "".join(
        f'<td data-name="{text(name)}">{cell}</td>' for name, cell in zip(names, cells, strict=True)
    )
    return f'<tr class="{text(kind)}">{shown}</tr>' if kind else f"<tr>{shown}</tr>"


def table_html(
    title: str, columns: Sequence[str], lines: Sequence[Sequence[str]], kind: str = ""
) -> str:
    """A table of cells that are HTML already, in a box that scrolls; empty without lines.

    ``title`` names the box for those who cannot see it; ``kind`` is a class of the table.
    """
    if not lines:
        return ""
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in columns)
    body = "".join(row_html(columns, line) for line in lines)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(title)}">'
        f'<table class="rows stacked {text(kind)}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
