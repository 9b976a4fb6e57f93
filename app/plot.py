"""A small SVG of lines over updates, drawn on the server, coloured by the page's own variables."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from app.html import text
from app.wording import runs as words

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 24, 14, 36
MAX_DRAWN = 360
"""Points drawn of one line; more could not be told apart."""

FEW = 8
"""Training points that are drawn as they are; more are smoothed."""

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


def frame_of(points: Sequence[Point], right: float = WIDTH - RIGHT) -> Frame:
    """The range of all points together."""
    losses = [loss for _, loss in points]
    low, high = min(losses), max(losses)
    room = max(high - low, 0.05 * abs(high), 1e-6) * 0.08
    last_step = max(*(step for step, _ in points), 2)
    return Frame(last_step, max(0.0, low - room), high + room, right)


def thin(points: Sequence[Point]) -> list[Point]:
    """At most ``MAX_DRAWN`` points, the last one always among them."""
    if len(points) <= MAX_DRAWN:
        return list(points)
    every = math.ceil(len(points) / MAX_DRAWN)
    return [*points[::every], points[-1]]


def line(frame: Frame, points: Sequence[Point], kind: str) -> str:
    """``kind`` is its class in page.css."""
    if not points:
        return ""
    path = " ".join(f"{frame.x(step):.1f},{frame.y(value):.1f}" for step, value in points)
    return f'<polyline class="{kind}" points="{path}"/>'


def dot(frame: Frame, point: Point, kind: str) -> str:
    """One point of a line of that class."""
    return (
        f'<circle class="{kind}-dot" r="3.5" cx="{frame.x(point[0]):.1f}"'
        f' cy="{frame.y(point[1]):.1f}"/>'
    )


def grid(frame: Frame) -> str:
    """Losses at the left with their lines, updates below."""
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


def picture(frame: Frame, inside: str, label: str, hover: Sequence[tuple[float, str]]) -> str:
    """The SVG around some lines; ``hover`` has updates and the sentence to show at each."""
    points = json.dumps([[round(frame.x(step), 1), said] for step, said in hover])
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(label)}"'
        f' data-points="{text(points)}">{inside}'
        f'<line class="cursor" y1="{TOP}" y2="{HEIGHT - BOTTOM}" x1="-9" x2="-9"/></svg>'
        f'<p class="axis" aria-hidden="true">{text(words.CHART_X)}</p>'
        '<div class="tip" hidden></div>'
    )


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
