"""The loss chart and the result in plain words."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chart import chart_html
from app.plot import MAX_DRAWN, smooth, ticks
from app.results import result_sentences
from jobs.job import ProgressPoint

METRICS: dict[str, Any] = {
    "validation_rows": 8, "steps": 57, "total_steps": 57, "stopped": False, "loss_first": 3.31,
    "loss_last": 1.21, "eval_loss_before": 3.21, "eval_loss_after": 1.43, "eval_loss_best": 1.43,
    "eval_loss_best_step": 57, "tokens": 18231, "seconds": 82.0, "tokens_per_second": 222.3,
    "peak_memory_mb": 2140.0,
}  # fmt: skip


def points(losses: list[float], every: int = 5) -> list[ProgressPoint]:
    return [
        ProgressPoint(
            step=step,
            loss=loss if step else None,
            eval_loss=loss + 0.1 if step % every == 0 else None,
            eval_accuracy=None,
            eval_f1=None,
            learning_rate=1e-4,
            tokens_per_second=100.0,
            at=0.0,
        )
        for step, loss in enumerate(losses)
    ]


def svg_of(html: str) -> ET.Element:
    return ET.fromstring(html[html.index("<svg") : html.index("</svg>") + 6])


def test_a_run_that_kept_its_best_or_ended_by_itself_says_so() -> None:
    best = {"steps": 40, "kept_step": 20, "eval_loss_best": 1.43, "eval_loss_best_step": 20}
    (said, *_) = result_sentences(METRICS | best)
    assert "The adapter is that of update 20 of 40" in said
    assert "fewer epochs" not in said
    ended = METRICS | {"ended_early": True, "steps": 40, "kept_step": 40}
    assert "ended after 40 of 57 updates" in result_sentences(ended)[0]


def test_the_measure_that_the_best_went_by_is_named() -> None:
    by = METRICS | {"metric_for_best_model": "accuracy", "ended_early": True, "kept_step": 20}
    said = " ".join(result_sentences(by | {"steps": 40}))
    assert "because accuracy on the held-out rows rose no further" in said
    assert "update 20 of 40, when accuracy on these rows was highest" in said
    risen = {"eval_loss_best": 1.2, "eval_loss_best_step": 30, "kept_step": 57}
    assert "Keep the best" not in " ".join(result_sentences(by | risen))


def test_what_was_not_learned_is_told() -> None:
    assert len(result_sentences(METRICS)) == 2
    found = result_sentences({**METRICS, "rows": 90, "rows_cut": 12, "answers_not_learned": 1})
    assert "12 of 90 rows had more tokens" in found[1]
    assert "1 answer in earlier turns" in found[2]


def test_without_points_there_is_a_sentence() -> None:
    assert "first update" in chart_html([])


def test_both_lines_are_drawn_inside_the_picture() -> None:
    html = chart_html(points([3 - 0.05 * i for i in range(41)]))
    svg = svg_of(html)
    kinds = [line.get("class") for line in svg.iter("polyline")]
    assert kinds == ["train-raw", "train", "validation"]
    assert len(list(svg.iter("circle"))) == 9
    _, _, width, height = map(float, svg.get("viewBox", "").split())
    for line in svg.iter("polyline"):
        for pair in line.get("points", "").split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height
    assert "Training, smoothed 1.05" in html, "a line's own last value"
    assert "each update 1.00" in html
    assert "Validation 1.10" in html
    assert "updates</p>" in html
    assert "validation" in svg.get("aria-label", "")
    shown = json.loads(svg.get("data-points", ""))
    assert shown[-1][1] == "Update 40: 1.00, validation 1.10"


def test_a_classifiers_accuracy_has_a_scale_of_its_own() -> None:
    losses = points([0.7 - 0.01 * i for i in range(41)])
    scores = {0: 0.0, 20: 0.5, 40: 1.0}
    scored = list(losses)
    for step, accuracy in scores.items():
        scored[step] = replace(losses[step], eval_accuracy=accuracy, eval_f1=0.25)
    html = chart_html(scored)
    svg = svg_of(html)
    (line,) = (line for line in svg.iter("polyline") if line.get("class") == "accuracy")
    drawn = [tuple(map(float, pair.split(","))) for pair in line.get("points", "").split()]
    figures = [each for each in svg.iter("text") if each.get("class") == "accuracy"]
    assert [each.text for each in figures] == ["0%", "25%", "50%", "75%", "100%"]
    heights = [float(each.get("y", "")) - 4 for each in figures]
    assert [y for _, y in drawn] == pytest.approx([heights[0], heights[2], heights[4]], abs=0.1)
    assert max(x for x, _ in drawn) < min(float(each.get("x", "")) for each in figures)
    assert "Accuracy, right scale 100.0 %" in html
    assert svg.get("aria-label", "").endswith("Accuracy on the validation rows 100.0 %.")
    shown = json.loads(svg.get("data-points", ""))
    assert shown[-1][1] == "Update 40: 0.30, validation 0.40, accuracy 100.0 %, macro F1 25.0 %"
    assert "accuracy" not in chart_html(losses)


@pytest.mark.parametrize("losses", [[2.0], [2.0, 2.0], [0.0, 0.0, 0.0], [5.0] * 5000])
def test_odd_runs_can_be_drawn(losses: list[float]) -> None:
    svg = svg_of(chart_html(points(losses)))
    for line in svg.iter("polyline"):
        assert len(line.get("points", "").split()) <= MAX_DRAWN + 1


@given(st.lists(st.floats(0, 100), min_size=1, max_size=300))
def test_smoothing_stays_within_the_losses(losses: list[float]) -> None:
    smoothed = smooth(list(enumerate(losses)))
    assert len(smoothed) == len(losses)
    assert all(min(losses) - 1e-6 <= loss <= max(losses) + 1e-6 for _, loss in smoothed)


@given(st.floats(0, 50), st.floats(1e-5, 1000))
def test_ticks_are_few_and_inside(low: float, span: float) -> None:
    found = ticks(low, low + span)
    assert 1 <= len(found) <= 6
    assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in found)


def test_the_result_in_plain_words() -> None:
    learned, cost = result_sentences(METRICS)
    assert learned.startswith("The loss on 8 rows the model had never seen fell from 3.21 to 1.43")
    assert "3.31 in the first update and 1.21 in the last" in learned
    assert "57 updates over 18,231 tokens; the training alone took 1 min 22 s, at 222" in cost
    assert "2.1 GB" in cost


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"eval_loss_after": 3.2}, "hardly moved"),
        ({"eval_loss_after": 3.9}, "learned by heart"),
        ({"eval_loss_best": 1.2, "eval_loss_best_step": 30}, "lowest (1.20) after update 30"),
        ({"eval_loss_before": None, "eval_loss_after": None}, "No rows were held back"),
        ({"eval_loss_after": None}, "rows held back was not measured"),
        ({"stopped": True, "steps": 20}, "stopped after 20 of 57 updates"),
        ({"validation_rows": 1}, "on 1 row the model"),
        ({"eval_loss_before": None, "steps": 1, "loss_first": 1.21}, "1.21 in the only update"),
        ({"card_unused": True}, "PyTorch cannot use this machine's graphics card"),
    ],
)
def test_other_results(changes: dict[str, Any], said: str) -> None:
    assert said in " ".join(result_sentences(METRICS | changes))


def test_one_update_says_nothing_of_the_rows_it_trained_on() -> None:
    once = METRICS | {"steps": 1, "loss_first": 1.21}
    assert "trained on" not in " ".join(result_sentences(once))


@pytest.mark.parametrize("missing", [*METRICS, None])
def test_missing_metrics_are_passed_over(missing: str | None) -> None:
    known = {} if missing is None else {k: v for k, v in METRICS.items() if k != missing}
    assert all(isinstance(sentence, str) for sentence in result_sentences(known))
