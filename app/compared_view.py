"""The comparison of runs as HTML: a sentence, their losses in one picture, two tables."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.clock import duration, megabytes, speed_text
from app.html import muted, table_html, text
from app.plot import FEW, Point, dot, frame_of, grid, line, picture, smooth, thin
from app.results import loss_text, percent
from app.run_comparison import Comparison, setting_label
from app.wording import compared as words
from app.wording import runs as run_words
from jobs.job import Job, ProgressPoint


def compared_html(
    found: Comparison,
    progress: Sequence[Sequence[ProgressPoint]],
    data_names: Mapping[str, str],
) -> str:
    """``progress`` has the points of each run, ``data_names`` what the data sets are called."""
    names = [f"{job.name} (#{job.id})" for job in found.jobs]

    def said(name: str, value: Any) -> str:
        if name == "lora.target_modules" and value is None:
            return words.USUAL
        if name in ("dataset", "test_dataset") and value is not None:
            return data_names.get(value, words.GONE)
        return value_text(value)

    settings = [
        (setting_label(name), [said(name, value) for value in values])
        for name, values in found.settings.items()
    ]
    results = [
        (words.VALUES[name], [result_text(name, value) for value in values])
        for name, values in found.results.items()
    ]
    return (
        f'<p class="verdict">{text(found.sentence)}</p>'
        + losses_html(found.jobs, progress)
        + _table(words.DIFFERENCES, words.SETTING, names, settings, words.NO_DIFFERENCE)
        + _table(words.RESULTS, words.RESULT, names, results, "")
    )


def losses_html(jobs: Sequence[Job], progress: Sequence[Sequence[ProgressPoint]]) -> str:
    """The validation losses of all runs in one picture, or their training losses where a run has
    no others; empty where there is nothing to draw."""
    lines = [_validation(points) for points in progress]
    what, dotted = words.CHART_VALIDATION, True
    if any(len(each) < 2 for each in lines):
        lines, what, dotted = (
            [_training(points) for points in progress],
            words.CHART_TRAINING,
            False,
        )
    drawn = [(n, thin(each)) for n, each in enumerate(lines) if each]
    if not drawn:
        return ""
    frame = frame_of([point for _, each in drawn for point in each])
    inside = "".join(
        line(frame, each, f"run-{n}")
        + ("".join(dot(frame, point, f"run-{n}") for point in each) if dotted else "")
        for n, each in drawn
    )
    lasts = [f"{jobs[n].name} {loss_text(each[-1][1])}" for n, each in drawn]
    legend = "".join(
        f'<span class="key run-{n}">{text(last)}</span>'
        for (n, _), last in zip(drawn, lasts, strict=True)
    )
    label = words.CHART_LABEL.format(what=what, count=len(drawn), lasts=", ".join(lasts))
    return (
        f'<h3>{text(what)}</h3><div class="legend">{legend}</div>'
        f"{picture(frame, grid(frame) + inside, label, _hover(jobs, drawn))}"
    )


def value_text(value: Any) -> str:
    """A setting's value as people write it."""
    if value is None or value == "":
        return words.NOTHING
    if isinstance(value, bool):
        return words.ON if value else words.OFF
    if isinstance(value, Mapping):
        return ", ".join(f"{name} = {value_text(each)}" for name, each in value.items()) or (
            words.NOTHING
        )
    if isinstance(value, list | tuple):
        return ", ".join(map(value_text, value)) or words.NOTHING
    return f"{value:.12g}" if isinstance(value, float) else str(value)


SHOWN: dict[str, Callable[[Any], str]] = {
    "trainable": lambda value: f"{value:,}",
    "steps": lambda value: f"{value:,}",
    "seconds": duration,
    "tokens_per_second": speed_text,
    "peak_memory_mb": megabytes,
}


def result_text(name: str, value: Any) -> str:
    """A result in its unit: losses in nats, shares in per cent."""
    if value is None:
        return words.NOTHING
    if show := SHOWN.get(name):
        return show(value)
    if name.endswith("rouge_l"):
        return f"{value:.3f}"
    return loss_text(value) if "loss" in name else percent(value)


def _validation(points: Sequence[ProgressPoint]) -> list[Point]:
    return [(p.step, p.eval_loss) for p in points if p.eval_loss is not None]


def _training(points: Sequence[ProgressPoint]) -> list[Point]:
    losses: list[Point] = [(p.step, p.loss) for p in points if p.loss is not None and p.step > 0]
    return smooth(losses) if len(losses) > FEW else losses


def _hover(
    jobs: Sequence[Job], drawn: Sequence[tuple[int, Sequence[Point]]]
) -> list[tuple[float, str]]:
    """What each run had at an update at which any of them has a point."""
    at: dict[float, list[str]] = {}
    for n, points in drawn:
        for step, loss in points:
            at.setdefault(step, []).append(f"#{jobs[n].id} {loss_text(loss)}")
    return [
        (step, f"{run_words.STEP} {step:,}: {', '.join(said)}") for step, said in sorted(at.items())
    ]


def _table(
    title: str, first: str, names: Sequence[str], rows: Sequence[tuple[str, list[str]]], none: str
) -> str:
    """A line a setting or result, a column a run; ``none`` is said where there is no line."""
    lines = [[f"<b>{text(label)}</b>", *map(text, cells)] for label, cells in rows]
    table = table_html(title, [first, *names], lines, "compared") or (none and muted(none))
    return f"<h3>{text(title)}</h3>{table}" if table else ""
