"""The chart of a run: a small SVG drawn on the server, coloured by the page's own variables.

Losses are read on the left; where labels are learned, accuracy on the right, from 0 to 100 %.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.html import text
from app.results import loss_text, percent
from app.wording import runs as words
from jobs.job import ProgressPoint

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 24, 14, 36
RIGHT_SCALE = 76
"""Room at the right where a scale is there, also for the large figures of a narrow window."""
FEW = 8
"""Training points that are drawn as they are; more are smoothed."""
MAX_DRAWN = 360
"""Points drawn of one line; more could not be told apart."""

Point = tuple[float, float]
"""Update number, loss or share."""


@dataclass(frozen=True)
class Frame:
    """The range of the data, and where it lies in the picture."""

    last_step: float
    low: float
    high: float
    right: float = WIDTH - RIGHT

    def x(self, step: float) -> float:
        return LEFT + (self.right - LEFT) * step / self.last_step

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)


def chart_html(points: Sequence[ProgressPoint]) -> str:
    """Training and validation loss over updates, and a classifier's accuracy; a sentence while
    there is nothing to draw."""
    training = [(p.step, p.loss) for p in points if p.loss is not None and p.step > 0]
    validation = [(p.step, p.eval_loss) for p in points if p.eval_loss is not None]
    if not training and not validation:
        return f'<p class="muted">{text(words.CHART_EMPTY)}</p>'
    accuracy = [(p.step, p.eval_accuracy) for p in points if p.eval_accuracy is not None]
    frame = _frame([*training, *validation], WIDTH - (RIGHT_SCALE if accuracy else RIGHT))
    shares = replace(frame, low=0.0, high=1.0)
    smoothed = smooth(training) if len(training) > FEW else []
    lines = (
        _line(frame, _thin(training), "train-raw" if smoothed else "train")
        + _line(frame, _thin(smoothed), "train")
        + _line(frame, _thin(validation), "validation")
        + "".join(_dot(frame, point, "validation") for point in _thin(validation))
        + _line(shares, _thin(accuracy), "accuracy")
        + "".join(_dot(shares, point, "accuracy") for point in _thin(accuracy))
    )
    label = words.CHART_LABEL.format(
        steps=f"{max(point[0] for point in [*training, *validation]):,}",
        loss=loss_text(training[-1][1]) if training else words.CHART_NO_VALUE,
        eval_loss=loss_text(validation[-1][1]) if validation else words.CHART_NO_VALUE,
    )
    if accuracy:
        label += words.CHART_LABEL_ACCURACY.format(accuracy=percent(accuracy[-1][1]))
    return (
        f"{_legend(training, smoothed, validation, accuracy)}"
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(label)}"'
        f' data-points="{text(_hover_data(frame, points, training, validation))}">'
        f"{_grid(frame)}{_scale(shares) if accuracy else ''}{lines}"
        f'<line class="cursor" y1="{TOP}" y2="{HEIGHT - BOTTOM}" x1="-9" x2="-9"/></svg>'
        f'<p class="axis" aria-hidden="true">{text(words.CHART_X)}</p>'
        '<div class="tip" hidden></div>'
    )


def smooth(points: Sequence[Point]) -> list[Point]:
    """The mean over a tenth of the points around each; over fewer at the steep start."""
    reach = max(1, len(points) // 20)
    sums = [0.0]
    for _, loss in points:
        sums.append(sums[-1] + loss)
    smoothed: list[Point] = []
    for i, (step, _) in enumerate(points):
        near = min(reach, i)
        low, high = i - near, min(i + near + 1, len(points))
        smoothed.append((step, (sums[high] - sums[low]) / (high - low)))
    return smoothed


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round numbers between ``low`` and ``high``."""
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _frame(points: Sequence[Point], right: float) -> Frame:
    losses = [loss for _, loss in points]
    low, high = min(losses), max(losses)
    room = max(high - low, 0.05 * abs(high), 1e-6) * 0.08
    last_step = max(*(step for step, _ in points), 2)
    return Frame(last_step, max(0.0, low - room), high + room, right)


def _thin(points: Sequence[Point]) -> list[Point]:
    """At most ``MAX_DRAWN`` points, the last one always among them."""
    if len(points) <= MAX_DRAWN:
        return list(points)
    every = math.ceil(len(points) / MAX_DRAWN)
    return [*points[::every], points[-1]]


def _line(frame: Frame, points: Sequence[Point], kind: str) -> str:
    if not points:
        return ""
    path = " ".join(f"{frame.x(step):.1f},{frame.y(value):.1f}" for step, value in points)
    return f'<polyline class="{kind}" points="{path}"/>'


def _dot(frame: Frame, point: Point, kind: str) -> str:
    return (
        f'<circle class="{kind}-dot" r="3.5" cx="{frame.x(point[0]):.1f}"'
        f' cy="{frame.y(point[1]):.1f}"/>'
    )


def _grid(frame: Frame) -> str:
    parts = []
    for loss in ticks(frame.low, frame.high):
        y = frame.y(loss)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{frame.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{loss:g}</text>'
        )
    whole = sorted({round(tick) for tick in ticks(0, frame.last_step, 6)})
    parts += [
        f'<text x="{frame.x(step):.1f}" y="{HEIGHT - 10}" text-anchor="middle">{step:,}</text>'
        for step in whole
    ]
    return "".join(parts)


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


def _hover_data(
    frame: Frame,
    points: Sequence[ProgressPoint],
    training: Sequence[Point],
    validation: Sequence[Point],
) -> str:
    """x in the picture and the sentence to show there, for the pointer."""
    known = {point.step: point for point in points}
    rows = []
    for step, loss in _thin(training) or list(validation):
        said = f"{words.STEP} {step:,}: {loss_text(loss)}"
        point = known[int(step)]
        if point.eval_loss is not None and training:
            said += f", {words.CHART_VALIDATION.lower()} {loss_text(point.eval_loss)}"
        if point.eval_accuracy is not None:
            said += f", {words.ACCURACY.lower()} {percent(point.eval_accuracy)}"
        if point.eval_f1 is not None:
            said += f", {words.CHART_F1} {percent(point.eval_f1)}"
        rows.append([round(frame.x(step), 1), said])
    return json.dumps(rows)


HOVER_JS = f"""
const place = element.closest('.chart-place') || element;
place.addEventListener('pointermove', (event) => {{
  const svg = event.target.closest('svg.chart');
  const tip = place.querySelector('.tip');
  if (!svg || !tip) return;
  const box = svg.getBoundingClientRect();
  const x = (event.clientX - box.left) * {WIDTH} / box.width;
  const points = JSON.parse(svg.dataset.points);
  if (!points.length) return;
  const near = points.reduce((a, b) => Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a);
  const line = svg.querySelector('.cursor');
  line.setAttribute('x1', near[0]);
  line.setAttribute('x2', near[0]);
  tip.textContent = near[1];
  tip.hidden = false;
  const share = near[0] / {WIDTH} * 100;  // on the side where there is room for a long sentence
  tip.style.left = share > 50 ? 'auto' : share + '%';
  tip.style.right = share > 50 ? 100 - share + '%' : 'auto';
}});
place.addEventListener('pointerleave', () => {{
  const tip = place.querySelector('.tip');
  if (tip) tip.hidden = true;
  place.querySelectorAll('.cursor').forEach((line) => {{
    line.setAttribute('x1', -9);
    line.setAttribute('x2', -9);
  }});
}});
"""
"""For ``gr.HTML(js_on_load=...)``: a cursor line and the values under the pointer."""
