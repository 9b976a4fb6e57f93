"""What the Playground shows, as pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from app.clock import speed_text
from app.comparing import sorts
from app.conversation import turns_html
from app.html import notice, text
from app.wording import playground as words
from jobs.job import Job
from lora_engine.data.library import Library
from lora_engine.data.nouns import Turn
from lora_engine.errors import WorkbenchError
from lora_engine.registry import QUANTIZATIONS, VARIANTS

NOTHING, SLIGHT, CLEAR = 0.001, 0.05, 1.0
"""Bounds of the mean KL, in nats per token, between one wording and the next."""
LEAST = 0.0001
"""A mean KL below this is rounding."""
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


@dataclass(frozen=True)
class Head:
    """What stands above one side."""

    title: str
    hint: str
    adapted: bool = True


BASE = Head(words.BASE, words.BASE_HINT, adapted=False)
ADAPTED = Head(words.ADAPTED, words.ADAPTED_HINT)


def heads(jobs: Sequence[Job]) -> list[Head]:
    """The base's head and one a run; several runs are told apart by their names."""
    untrained = bool(jobs) and sorts(jobs[0])
    hint = words.BASE_HEAD_HINT if untrained else words.BASE_HINT
    base = Head(words.BASE, hint + _bits(jobs), adapted=False)
    if len(jobs) < 2:
        return [base, ADAPTED]
    return [
        base,
        *(Head(job.name, words.RUN_HINT.format(job=job.id, how=_how(job))) for job in jobs),
    ]


def _bits(jobs: Sequence[Job]) -> str:
    """In how few bits all sides hold the base, where the runs were trained on it so."""
    held = QUANTIZATIONS.get(jobs[0].config.quantization) if jobs else None
    return words.BASE_BITS.format(bits=held) if held else ""


def _how(job: Job) -> str:
    """A run's method in a word or two."""
    lora = job.config.lora
    if lora.method != "lora":
        return str(lora.method)
    title = VARIANTS[lora.variant].title
    return words.RANK.format(r=lora.r) + (f", {title}" if title else "")


def side_html(head: Head, turns: Sequence[Turn], partial: str | None = None, note: str = "") -> str:
    """One side's conversation; ``partial`` is the answer being written, ``note`` HTML below."""
    shown = list(turns)
    if partial is not None:
        shown.append(Turn(role="assistant", content=partial or words.WAITING))
    # a model often ends with empty lines, which would look like a part of the answer
    shown = [Turn(role=turn.role, content=turn.content.rstrip()) for turn in shown]
    body = turns_html(shown) or f'<p class="muted">{text(words.EMPTY_SIDE)}</p>'
    return _side(head, body, note)


def labels_html(head: Head, chances: Mapping[str, float] | Sequence[str]) -> str:
    """One side's probability of each label as bars, the likeliest first."""
    if not isinstance(chances, Mapping) or not chances:
        return _side(head, f'<p class="muted">{text(words.EMPTY_LABELS)}</p>')
    ordered = sorted(chances.items(), key=lambda item: -item[1])[:MAX_LABELS]
    bars = "".join(
        f'<li><span class="name">{text(label)}</span><span class="value">{share:.1%}</span>'
        f'<span class="bar" aria-hidden="true"><i style="width:{100 * share:.1f}%"></i></span>'
        "</li>"
        for label, share in ordered
    )
    return _side(head, f'<ul class="bars">{bars}</ul>')


def _side(head: Head, body: str, note: str = "") -> str:
    kind = "adapted" if head.adapted else "base"
    return (
        f'<section class="side-by-side {kind}">'
        f'<header><h3>{text(head.title)}</h3><span class="hint">{text(head.hint)}</span></header>'
        f'<div class="dialogue" tabindex="0" aria-live="polite">{body}</div>{note}</section>'
    )


def notes_html(divergences: Sequence[float | None], cut: Sequence[bool]) -> list[str]:
    """Below each side: how far it is from the base, in a few words, where that stands nowhere else;
    and whether its answer was cut."""
    ends = [f'<p class="hint cut">{text(words.CUT)}</p>' if each else "" for each in cut]
    ends += [""] * (len(divergences) - len(ends))
    return [
        ("" if each is None else _note(each)) + end
        for each, end in zip(divergences, ends, strict=True)
    ]


def _note(divergence: float) -> str:
    said = words.DIVERGENCE_OF.format(
        said=words.DIVERGENCE_SHORT[_degree(divergence)], value=_value(divergence)
    )
    kind = " none" if divergence < NOTHING else ""
    meaning = text(words.DIVERGENCE_MEANING)
    return f'<p class="side-note{kind}" title="{meaning}">{text(said)}</p>'


def badge_html(
    divergence: float | None,
    tokens_per_second: float | None,
    stopped: bool,
    explained: bool = False,
) -> str:
    """How far the adapted model is from the base on this prompt; a warning where it is not.

    With ``explained`` it says what KL is even where it stands elsewhere.
    """
    extra = []
    if tokens_per_second:
        extra.append(words.SPEED.format(value=speed_text(tokens_per_second)))
    if stopped:
        extra.append(words.STOPPED)
    tail = f'<span class="hint">{text(", ".join(extra))}</span>' if extra else ""
    if explained or divergence is not None:
        tail += f'<span class="hint">{text(words.DIVERGENCE_MEANING)}</span>'
    if divergence is None:
        return f'<div class="badge-row">{tail}</div>' if tail else ""
    sentence = divergence_sentence(divergence)
    if divergence < NOTHING:
        return f'<div class="badge-row warn">{notice("warning", sentence)}{tail}</div>'
    return f'<div class="badge-row"><span class="badge">{text(sentence)}</span>{tail}</div>'


def divergence_sentence(divergence: float) -> str:
    """The mean KL in words."""
    forms = (
        *(words.DIVERGENCE_NONE, words.DIVERGENCE_SLIGHT),
        *(words.DIVERGENCE_CLEAR, words.DIVERGENCE_STRONG),
    )
    return forms[_degree(divergence)].format(value=_value(divergence))


def _degree(divergence: float) -> int:
    """0 for nothing, 1 slight, 2 clear, 3 strong."""
    return sum(divergence >= bound for bound in (NOTHING, SLIGHT, CLEAR))


def _value(divergence: float) -> str:
    if divergence < LEAST:
        return words.DIVERGENCE_LEAST.format(least=LEAST)
    return f"{divergence:.2g}" if divergence < 0.1 else f"{divergence:.2f}"


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
