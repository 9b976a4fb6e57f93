"""The form filled from a run or a settings file: with its data, its columns, and what it says."""

import json
from pathlib import Path

import pytest

from app.main import Page
from app.services import Services
from tests.app.handlers.steps import STARTER, events, finished, form, labelled


@pytest.mark.parametrize("way", ["again", "further", "load"])
def test_the_data_set_of_a_filled_form_is_the_chosen_one_everywhere(
    page: Page, services: Services, dataset_id: str, tmp_path: Path, way: str
) -> None:
    train, data = page.train, page.data
    moods = labelled(services, tmp_path)
    match way:
        case "again":
            filled = page.train_again(finished(services, dataset_id))
        case "further":
            filled = page.train_further(finished(services, dataset_id), moods)
        case _:
            saved = {"base_model": STARTER, "dataset": dataset_id}
            (tmp_path / "saved.json").write_text(json.dumps(saved))
            path = str(tmp_path / "saved.json")
            filled = page.load_settings(path, moods, "all-minilm-l6-v2", *form(page))
    assert filled[train.layout.dataset]["value"] == dataset_id
    assert filled[page.memory.dataset] == dataset_id
    assert "numbers.csv" in filled[data.summary]
    left = filled[page.memory.form]
    back = page.restore("train", filled[page.memory.dataset], 0, left)
    assert back[train.layout.dataset]["value"] == dataset_id
    assert back[train.layout.model]["value"] == STARTER


def test_without_its_data_set_the_chosen_one_stays(
    page: Page, services: Services, dataset_id: str, tmp_path: Path
) -> None:
    run = finished(services, dataset_id)
    services.library.remove(dataset_id)
    filled = page.train_again(run)
    assert page.memory.dataset not in filled
    assert "no longer here" in filled[page.train.layout.notice]
    (tmp_path / "no.json").write_text("[[[")
    refused = page.load_settings(str(tmp_path / "no.json"), "", STARTER, *form(page))
    assert page.memory.dataset not in refused
    assert page.load_settings(None, "", STARTER, *form(page)) == {}


def test_a_reload_that_takes_another_model_says_so(
    page: Page, services: Services, tmp_path: Path
) -> None:
    shown = page.train.restore({"base_model": STARTER}, labelled(services, tmp_path))
    assert "MiniLM" in shown[page.train.layout.notice]


def test_a_reload_leaves_a_model_that_was_chosen_for_its_data(
    page: Page, services: Services, tmp_path: Path
) -> None:
    """A writing model may well learn labels."""
    moods = labelled(services, tmp_path)
    left = page.train_again(finished(services, moods, epochs=2.5))[page.memory.form]
    back = page.train.restore(left, moods)
    assert back[page.train.layout.model]["value"] == STARTER
    assert page.train.layout.notice not in back


def test_columns_that_mean_something_else_now_are_told(
    page: Page, services: Services, dataset_id: str
) -> None:
    same = finished(services, dataset_id, roles={"completion": "answer", "prompt": "question"})
    layout = page.train.layout
    assert "columns" not in page.train_again(same)[layout.notice]
    other = finished(services, dataset_id, roles={"prompt": "answer", "completion": "question"})
    said = page.train_again(other)[layout.notice]
    assert "meant something else then" in said
    assert "“question”" in said
    assert "columns" not in page.train_again(finished(services, dataset_id))[layout.notice]


def test_what_was_said_of_a_filled_form_stays_where_the_method_is_another(
    page: Page, dataset_id: str
) -> None:
    layout = page.train.layout
    [event] = events(page, layout.fields["lora.method"].control, "change", "pick_deciding")
    changed = event.fn(dataset_id, STARTER, *form(page, **{"lora.method": "full"}))
    assert layout.notice not in changed


def test_nothing_is_said_of_a_run_that_is_shown(page: Page, dataset_id: str) -> None:
    layout = page.train.layout
    [event] = events(page, layout.start, "click")
    started = event.fn("", dataset_id, STARTER, *form(page))
    assert started[page.memory.tab] == "runs"
    assert started[layout.notice] == "", "it would stay on the Train tab for ever"


def test_an_error_of_the_counts_goes_once_they_are_right(
    page: Page, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    layout = page.train.layout
    [event] = events(page, layout.fields["lora.r"].control, "change", "recount")
    form_now = dataset_id, STARTER, *form(page)
    with monkeypatch.context() as patched:
        patched.setattr("app.train_updates.count_parameters", broken)
        told = event.fn(True, "", *form_now)
    assert "alert" in told[layout.trouble]
    assert event.fn(True, told[layout.trouble], *form_now)[layout.trouble] == ""
