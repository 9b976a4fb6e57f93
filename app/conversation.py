"""Conversations as HTML: plain text only, each speaker told apart, the learned parts marked."""

from collections.abc import Iterable, Sequence

from app.html import text
from app.wording import data as words
from lora_engine.data.nouns import Sample, Turn

SPEAKERS = {
    "system": words.ROLE_SYSTEM,
    "user": words.ROLE_USER,
    "assistant": words.ROLE_ASSISTANT,
}
SHOWN_CHARACTERS = 1500
"""Longer turns are cut in previews; the model still learns all of them (up to its limit)."""


def sample_html(sample: Sample) -> str:
    """One usable row as the model sees it."""
    line = f'<span class="line">{text(words.LINE.format(line=sample.line))}</span>'
    if sample.messages:
        body = turns_html(sample.messages, mark_learned=True)
    elif sample.label:
        body = _bubble("user", words.ROLE_TEXT, _cut(sample.text))
        if sample.text_pair:
            body += _bubble("user", words.ROLE_PAIR, _cut(sample.text_pair))
        body += _bubble("assistant", words.ROLE_LABEL, sample.label, mark=words.LEARNED)
    else:
        body = _bubble("text", words.ROLE_TEXT, _cut(sample.text), mark=words.LEARNED)
    return f'<article class="sample">{line}{body}</article>'


def samples_html(samples: Iterable[Sample]) -> str:
    """Several rows below each other; empty where there is none."""
    return "".join(sample_html(sample) for sample in samples)


def turns_html(turns: Sequence[Turn], mark_learned: bool = False) -> str:
    """A conversation, one bubble a turn."""
    return "".join(
        _bubble(
            turn.role,
            SPEAKERS[turn.role],
            _cut(turn.content) if mark_learned else turn.content,
            mark=_mark(turn) if mark_learned else "",
        )
        for turn in turns
    )


def _mark(turn: Turn) -> str:
    if turn.is_learned:
        return words.LEARNED
    return words.UNLEARNED if turn.role == "assistant" else ""


def _bubble(kind: str, speaker: str, content: str, mark: str = "") -> str:
    marked = f' <span class="learned-mark">{text(mark)}</span>' if mark else ""
    classes = f"turn {kind}{' learned' if mark == words.LEARNED else ''}"
    return (
        f'<div class="{classes}"><div class="speaker">{text(speaker)}{marked}</div>'
        f'<div class="said" dir="auto">{text(content if content.strip() else words.EMPTY)}</div>'
        "</div>"
    )


def _cut(content: str) -> str:
    if len(content) <= SHOWN_CHARACTERS:
        return content
    return content[:SHOWN_CHARACTERS] + " …"
