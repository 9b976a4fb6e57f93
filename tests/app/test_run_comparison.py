"""Runs side by side: what differs, what came of them, and what may be said of it."""

from typing import Any

import pytest

from app.compared_view import compared_html, losses_html, result_text, value_text
from app.run_comparison import RESULTS, compare_runs, setting_label
from app.wording import compared as words
from app.wording import fields
from jobs.job import Job, JobStatus, ProgressPoint
from lora_engine.config import TrainConfig
from lora_engine.errors import SettingsError

MEASURED: dict[str, Any] = {
    "eval_loss_before": 4.5, "eval_loss_after": 2.5, "validation_rows": 80, "trainable": 460_800,
    "steps": 57, "seconds": 62.0, "tokens_per_second": 359.0, "peak_memory_mb": 1400.0,
}  # fmt: skip


def run(
    number: int,
    metrics: dict[str, Any] | None = None,
    status: str = "succeeded",
    eval_loss: float | None = None,
    **settings: Any,
) -> Job:
    config = TrainConfig.parse({"base_model": "m", "dataset": "d" * 16, **settings})
    unknown = dict.fromkeys(Job.__dataclass_fields__)
    return Job(**unknown | {
        "id": number, "name": f"Run <{number}>", "status": JobStatus(status), "config": config,
        "step": 57, "total_steps": 57, "eval_loss": eval_loss,
        "metrics": None if status == "running" else MEASURED | (metrics or {}),
        "unreadable": "",
    })  # fmt: skip


def point(step: int, loss: float | None = None, eval_loss: float | None = None) -> ProgressPoint:
    return ProgressPoint(step, loss, eval_loss, None, None, None, None, 0.0)


def test_what_differs_and_which_did_best() -> None:
    jobs = [run(1), run(2, {"eval_loss_after": 2.2, "trainable": 921_600}, lora={"r": 16})]
    found = compare_runs(jobs)
    assert found.settings == {"lora.r": (8, 16)}
    assert found.results["eval_loss"] == (2.5, 2.2)
    assert found.results["trainable"] == (460_800, 921_600)
    assert "accuracy" not in found.results, "nobody measured it"
    assert found.not_alike == ()
    assert found.best is jobs[1]
    assert found.sentence == (
        "“Run <2>” (run 2) did best on the held-out rows: a loss of 2.20 against 2.50."
    )


def test_labels_go_by_accuracy_and_few_rows_are_said_to_be_few() -> None:
    sure = {"validation": {"accuracy": 0.75, "f1_macro": 0.7}, "validation_rows": 12}
    surer = {"validation": {"accuracy": 0.91, "f1_macro": 0.9}, "eval_loss_after": 3.0}
    # a share of rows is the same for models with other tokens
    found = compare_runs([run(1, sure), run(2, surer, base_model="other", max_length=128)])
    assert found.best is not None
    assert found.best.id == 2
    assert "91.0 % of them right against 75.0 %" in found.sentence
    assert "With only 12 held-out rows a small difference means little." in found.sentence


@pytest.mark.parametrize(
    "settings",
    [{"seed": 1}, {"validation_share": 0.2}, {"dataset": "e" * 16}, {"max_samples": 9},
     {"base_model": "other"}, {"max_length": 128}, {"roles": {"text": "a"}}],
)  # fmt: skip
def test_losses_of_other_rows_or_tokens_say_nothing(settings: dict[str, Any]) -> None:
    found = compare_runs([run(1), run(2, {"eval_loss_after": 1.0}, **settings)])
    (name,) = settings
    assert found.not_alike == (name,)
    assert found.best is None
    assert f"differ in: {setting_label(name)}." in found.sentence


def test_what_cannot_be_said_is_not() -> None:
    about_equal = compare_runs([run(1), run(2, {"eval_loss_after": 2.52})])
    assert about_equal.best is None
    assert about_equal.sentence == words.ALIKE
    assert about_equal.settings == {}
    unmeasured = compare_runs([run(1), run(2, {"eval_loss_after": None})])
    assert unmeasured.sentence == words.NOT_MEASURED
    going_on = compare_runs([run(1), run(2, status="running", eval_loss=2.0)])
    assert going_on.best is None
    assert going_on.sentence == words.STILL
    assert going_on.results["eval_loss"] == (2.5, 2.0), "its latest"


@pytest.mark.parametrize("numbers", [[1], [1, 1], [1, 2, 3, 4, 5]])
def test_two_to_four_different_runs(numbers: list[int]) -> None:
    with pytest.raises(SettingsError, match="two to 4 different runs"):
        compare_runs([run(each) for each in numbers])


def test_every_setting_and_result_has_a_name_for_people() -> None:
    assert set(words.VALUES) == set(RESULTS)
    config = TrainConfig(base_model="m", dataset="d").to_json()
    names = {*config, *(f"lora.{name}" for name in config["lora"])} - {"lora"}
    unnamed = {name for name in names if name not in fields.FIELDS | words.OTHER_SETTINGS}
    assert unnamed == set()


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), ("", "–"), (True, "on"), (False, "off"), (0.0002, "0.0002"), ([], "–"),
     (["q_proj", "v_proj"], "q_proj, v_proj"), ({"v_proj": 16}, "v_proj = 16"), ({}, "–"),
     ("cosine", "cosine"), (3, "3")],
)  # fmt: skip
def test_values_as_people_write_them(value: Any, shown: str) -> None:
    assert value_text(value) == shown


def test_results_in_their_units() -> None:
    given = {"eval_loss": 2.5, "accuracy": 0.5, "test_rouge_l": 0.25, "trainable": 460_800,
             "seconds": 62.0, "peak_memory_mb": 1400.0, "tokens_per_second": 359.2}  # fmt: skip
    assert [result_text(name, value) for name, value in given.items()] == [
        "2.50", "50.0 %", "0.250", "460,800", "1 min 02 s", "1.4 GB", "359"
    ]  # fmt: skip
    assert result_text("accuracy", None) == "–"


def test_the_page_shows_names_never_as_markup() -> None:
    jobs = [run(1), run(2, lora={"r": 16}, dataset="e" * 16, test_dataset="f" * 16)]
    points = [[point(0, None, 4.5), point(5, 4.0, 3.0)], [point(0, None, 4.5), point(9, 4.0, 2.5)]]
    html = compared_html(compare_runs(jobs), points, {"d" * 16: "Tea & salt"})
    assert "Run &lt;1&gt; (#1)" in html
    assert "<1>" not in html
    assert "Tea &amp; salt" in html
    assert words.GONE in html, "the other data set"
    assert html.count("polyline") == 2
    assert html.count("circle") == 4
    assert "Update 9: #2 2.50" in html
    assert "Rank r" in html


def test_training_losses_stand_in_for_validation_losses_that_a_run_lacks() -> None:
    jobs = [run(1), run(2)]
    some = [point(0, None, 4.5), point(1, 4.0), point(2, 3.5, 3.0)]
    html = losses_html(jobs, [some, [point(1, 4.1), point(2, 3.6)]])
    assert words.CHART_TRAINING in html
    assert "circle" not in html
    assert losses_html(jobs, [[], []]) == ""
    assert losses_html(jobs, [some, []]).count("polyline") == 1
