"""What the Playground shows, as pure functions."""

from collections.abc import Mapping, Sequence
from itertools import islice

from app.conversation import turns_html
from app.html import notice, text
from app.wording import playground as words
from lora_engine.data.library import Library
from lora_engine.data.nouns import Turn
from lora_engine.errors import WorkbenchError

NOTHING, SLIGHT, CLEAR = 0.001, 0.05, 1.0
"""Bounds of the mean KL, in nats per token, between one wording and the next."""
EXAMPLE_ROWS = 200
MAX_EXAMPLES = 4
MAX_LABELS = 10
EXAMPLE_CHARACTERS = 300

FOLLOW_JS = """
watch('value', () => {
  const box = element.querySelector('.dialogue');
  const below = box.scrollHeight - box.scrollTop - box.clientHeight;
  if (below < 160) box.scrollTop = box.scrollHeight;
});
"""
"""For ``gr.HTML(js_on_load=...)``: follow a growing answer, unless the person has scrolled up."""


def side_html(adapted: bool, turns: Sequence[Turn], partial: str | None = None) -> str:
    """One side's conversation; ``partial`` is the answer being written."""
    title, hint = (words.ADAPTED, words.ADAPTED_HINT) if adapted else (words.BASE, words.BASE_HINT)
    shown = list(turns)
    if partial is not None:
        shown.append(Turn(role="assistant", content=partial or words.WAITING))
    body = turns_html(shown) or f'<p class="muted">{text(words.EMPTY_SIDE)}</p>'
    kind = "adapted" if adapted else "base"
    return (
        f'<section class="side-by-side {kind}"><header><h3>{text(title)}</h3>'
        f'<span class="hint">{text(hint)}</span></header>'
        f'<div class="dialogue" aria-live="polite">{body}</div></section>'
    )


def labels_html(adapted: bool, chances: Mapping[str, float] | None) -> str:
    """One side's probability of each label as bars, the likeliest first."""
    title = words.ADAPTED if adapted else words.BASE
    hint = words.ADAPTED_HINT if adapted else words.BASE_HEAD_HINT
    if not chances:
        said = words.WAITING if chances is not None else words.EMPTY_LABELS
        body = f'<p class="muted">{text(said)}</p>'
    else:
        ordered = sorted(chances.items(), key=lambda item: -item[1])[:MAX_LABELS]
        bars = "".join(
            f'<li><span class="name">{text(label)}</span><span class="value">{share:.1%}</span>'
            f'<span class="bar" aria-hidden="true"><i style="width:{100 * share:.1f}%"></i></span>'
            "</li>"
            for label, share in ordered
        )
        body = f'<ul class="bars">{bars}</ul>'
    kind = "adapted" if adapted else "base"
    return (
        f'<section class="side-by-side {kind}"><header><h3>{text(title)}</h3>'
        f'<span class="hint">{text(hint)}</span></header>'
        f'<div class="dialogue" aria-live="polite">{body}</div></section>'
    )


def badge_html(divergence: float | None, tokens_per_second: float | None, stopped: bool) -> str:
    """How far the adapted model is from the base on this prompt; a warning where it is not."""
    extra = []
    if tokens_per_second:
        extra.append(words.SPEED.format(value=f"{tokens_per_second:.0f}"))
    if stopped:
        extra.append(words.STOPPED)
    tail = f'<span class="hint">{text(", ".join(extra))}</span>' if extra else ""
    if divergence is None:
        return f'<div class="badge-row">{tail}</div>' if tail else ""
    sentence = divergence_sentence(divergence)
    if divergence < NOTHING:
        return f'<div class="badge-row warn">{notice("warning", sentence)}{tail}</div>'
    meaning = text(words.DIVERGENCE_MEANING)
    return (
        f'<div class="badge-row"><span class="badge" title="{meaning}">{text(sentence)}</span>'
        f"{tail}</div>"
    )


def divergence_sentence(divergence: float) -> str:
    """The mean KL in words."""
    value = f"{divergence:.2g}" if divergence < 0.1 else f"{divergence:.2f}"
    if divergence < NOTHING:
        return words.DIVERGENCE_NONE.format(value=value)
    if divergence < SLIGHT:
        return words.DIVERGENCE_SLIGHT.format(value=value)
    if divergence < CLEAR:
        return words.DIVERGENCE_CLEAR.format(value=value)
    return words.DIVERGENCE_STRONG.format(value=value)


def example_prompts(library: Library, dataset_id: str) -> list[tuple[str, str]]:
    """A few short first messages, or texts with their pairs, of the data a run was trained on;
    none where it is gone."""
    found: list[tuple[str, str]] = []
    try:
        for sample in islice(library.samples(dataset_id), EXAMPLE_ROWS):
            first = next((turn.content for turn in sample.messages if turn.role == "user"), "")
            asked = (sample.text, sample.text_pair) if sample.label else (first, "")
            if asked[0] and sum(map(len, asked)) <= EXAMPLE_CHARACTERS and asked not in found:
                found.append(asked)
    except WorkbenchError:
        return []
    every = max(1, len(found) // MAX_EXAMPLES)
    return found[::every][:MAX_EXAMPLES]


def examples_html(prompts: Sequence[tuple[str, str]]) -> str:
    """Example prompts as buttons that fill the message box."""
    if not prompts:
        return ""
    buttons = "".join(
        f'<button type="button" class="chip" data-action="use" data-id="{i}">{text(first)}</button>'
        for i, (first, _) in enumerate(prompts)
    )
    return f'<div class="chips"><span class="hint">{text(words.EXAMPLES)}</span>{buttons}</div>'
