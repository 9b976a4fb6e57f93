"""The chart of a run: a small SVG drawn on the server, coloured by the page's own variables.

Losses are read on the left; where labels are learned, accuracy on the right, from 0 to 100 %.
"""

from collections.abc import Sequence
from dataclasses import replace

from app.html import text
from app.plot import (
    FEW,
    RIGHT,
    WIDTH,
    Frame,
    Point,
    dot,
    frame_of,
    grid,
    line,
    picture,
    smooth,
    thin,
)
from app.results import loss_text, percent
from app.wording import runs as words
from jobs.job import ProgressPoint

RIGHT_SCALE = 76
"""Room at the right where a scale is there, also for the large figures of a narrow window."""


def chart_html(points: Sequence[ProgressPoint]) -> str:
    """Training and validation loss over updates, and a classifier's accuracy; a sentence while
    there is nothing to draw."""
    training = [(p.step, p.loss) for p in points if p.loss is not None and p.step > 0]
    validation = [(p.step, p.eval_loss) for p in points if p.eval_loss is not None]
    if not training and not validation:
        return f'<p class="muted">{text(words.CHART_EMPTY)}</p>'
    accuracy = [(p.step, p.eval_accuracy) for p in points if p.eval_accuracy is not None]
    frame = frame_of([*training, *validation], WIDTH - (RIGHT_SCALE if accuracy else RIGHT))
    shares = replace(frame, low=0.0, high=1.0)
    smoothed = smooth(training) if len(training) > FEW else []
    lines = (
        line(frame, thin(training), "train-raw" if smoothed else "train")
        + line(frame, thin(smoothed), "train")
        + line(frame, thin(validation), "validation")
        + "".join(dot(frame, point, "validation") for point in thin(validation))
        + line(shares, thin(accuracy), "accuracy")
        + "".join(dot(shares, point, "accuracy") for point in thin(accuracy))
    )
    label = words.CHART_LABEL.format(
        steps=f"{max(point[0] for point in [*training, *validation]):,}",
        loss=loss_text(training[-1][1]) if training else words.CHART_NO_VALUE,
        eval_loss=loss_text(validation[-1][1]) if validation else words.CHART_NO_VALUE,
    )
    if accuracy:
        label += words.CHART_LABEL_ACCURACY.format(accuracy=percent(accuracy[-1][1]))
    inside = f"{grid(frame)}{_scale(shares) if accuracy else ''}{lines}"
    hover = _hover(points, training, validation)
    legend = _legend(training, smoothed, validation, accuracy)
    return legend + picture(frame, inside, label, hover)


def _scale(shares: Frame) -> str:
    """The figures at the right; the lines are those of the losses."""
    return "".join(
        f'<text class="accuracy" x="{shares.right + 8}" y="{shares.y(share) + 4:.1f}">'
        f"{share:.0%}</text>"
        for share in (0, 0.25, 0.5, 0.75, 1)
    )


def _legend(
    training: Sequence[Point],
    smoothed: Sequence[Point],
    validation: Sequence[Point],
    accuracy: Sequence[Point],
) -> str:
    """Each line's name and its own last value."""
    lines = [("validation", words.CHART_VALIDATION, validation)]
    if smoothed:
        lines = [
            ("train", words.CHART_SMOOTH, smoothed),
            ("train-raw", words.CHART_RAW, training),
            *lines,
        ]
    else:
        lines = [("train", words.CHART_TRAIN, training), *lines]
    items = "".join(
        f'<span class="key {kind}">{text(name)} {loss_text(points[-1][1])}</span>'
        for kind, name, points in lines
        if points
    )
    if accuracy:
        said = f"{text(words.CHART_ACCURACY)} {percent(accuracy[-1][1])}"
        items += f'<span class="key accuracy">{said}</span>'
    return f'<div class="legend">{items}</div>'


def _hover(
    points: Sequence[ProgressPoint], training: Sequence[Point], validation: Sequence[Point]
) -> list[tuple[float, str]]:
    """The sentence to show at each update."""
    known = {point.step: point for point in points}
    rows = []
    for step, loss in thin(training) or list(validation):
        said = f"{words.STEP} {step:,}: {loss_text(loss)}"
        point = known[int(step)]
        if point.eval_loss is not None and training:
            said += f", {words.CHART_VALIDATION.lower()} {loss_text(point.eval_loss)}"
        if point.eval_accuracy is not None:
            said += f", {words.ACCURACY.lower()} {percent(point.eval_accuracy)}"
        if point.eval_f1 is not None:
            said += f", {words.CHART_F1} {percent(point.eval_f1)}"
        rows.append((step, said))
    return rows
