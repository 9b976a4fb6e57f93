"""The handlers of the data tab, without a browser: what each event changes."""

import threading
from pathlib import Path
from typing import Any

import pytest

from app.main import Page
from app.services import Services
from lora_engine.data import Library
from lora_engine.errors import DataError
from tests.app.conftest import make_table
from tests.app.handlers.steps import click, events
from tests.data.workbooks import make_workbook


def test_choosing_changing_and_deleting_data(
    page: Page, services: Services, dataset_id: str
) -> None:
    data = page.data
    shown = data.choose(click(id=dataset_id))
    assert shown[data.chosen] == dataset_id
    assert "numbers.csv" in shown[data.summary]
    assert shown[data.shape] == "pair"
    assert shown[data.columns["prompt"]]["value"] == "question"
    assert shown[data.columns["system"]]["visible"]
    assert not shown[data.columns["messages"]]["visible"]

    columns = dict.fromkeys(data.columns) | {"prompt": "answer", "completion": "question"}
    *_, changed = data.change_roles(dataset_id, "pair", *columns.values())
    assert services.library.get(dataset_id).roles == {"prompt": "answer", "completion": "question"}
    assert "It is 0" in changed[data.preview]

    [half] = data.change_shape(dataset_id, "text", *dict.fromkeys(data.columns).values())
    assert half[data.columns["text"]]["visible"]
    assert "text" not in services.library.get(dataset_id).roles
    assert "Choose the columns" in half[data.summary]
    assert "Problems</dt><dd>–" in half[data.summary], "what is not known yet is not “none”"
    assert "It is 0" not in half[data.preview]
    assert not half[data.to_train]["interactive"]
    columns = dict.fromkeys(data.columns) | {"text": "answer"}
    *_, whole = data.change_roles(dataset_id, "text", *columns.values())
    assert whole[data.to_train]["interactive"]
    assert "“question” is not used" in whole[data.summary]

    assert "numbers.csv" in data.ask(dataset_id)[data.confirm_text]
    gone = data.remove(dataset_id)
    assert gone[data.chosen] == ""
    assert services.library.list() == []


def test_a_workbook_of_several_sheets_is_added_and_says_which_one_it_shows(
    page: Page, tmp_path: Path
) -> None:
    sheets = {"Answers": [["question", "answer"], ["Who keeps the light?", 7.0]], "Old": [["x"]]}
    path = make_workbook(tmp_path / "book.xlsx", sheets)
    *_, shown = page.data.add(str(path), "")
    summary = shown[page.data.summary]
    assert "<dt>File</dt><dd>XLSX</dd>" in summary
    assert "sheet “Answers”; “Old” is not read" in summary
    assert "Who keeps the light?" in shown[page.data.preview]


def test_the_data_set_that_takes_a_deleted_ones_place_is_named(
    page: Page, services: Services, dataset_id: str, tmp_path: Path
) -> None:
    other = services.library.add(make_table(tmp_path / "other.csv", rows=5)).dataset_id
    gone = page.data.remove(other)
    assert gone[page.data.chosen] == dataset_id
    assert "“numbers.csv” is the chosen data set now" in gone[page.data.notice]


def test_a_column_that_could_be_a_label_is_offered(
    page: Page, services: Services, tmp_path: Path
) -> None:
    path = tmp_path / "odd.csv"
    lines = [f"What a day number {i},{('glad', 'sad')[i % 2]},{i}" for i in range(40)]
    path.write_text("\n".join(["review,feeling,page", *lines]) + "\n")
    dataset = services.library.add(path)
    assert dataset.roles == {"text": "review"}
    said = page.data.show(dataset.dataset_id)[page.data.summary]
    assert "“feeling” is not used. It holds 2 different values" in said
    assert "A text and its label" in said


def test_roles_that_do_not_fit_are_refused(page: Page, dataset_id: str) -> None:
    columns = dict.fromkeys(page.data.columns) | {"prompt": "nose", "completion": "answer"}
    with pytest.raises(DataError, match="nose"):
        list(page.data.change_roles(dataset_id, "pair", *columns.values()))


def test_a_fresh_page_shows_the_remembered_data_set_or_the_newest(
    page: Page, dataset_id: str
) -> None:
    assert page.data.restore(dataset_id)[page.data.chosen] == dataset_id
    assert page.data.restore("0123456789abcdef")[page.data.chosen] == dataset_id


def test_a_long_file_shows_its_first_rows_and_how_far_it_is(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.data_tab.PEEK_SECONDS", 0.0)
    path, read_on = make_table(tmp_path / "long.csv"), threading.Event()
    library = page.services.library

    def slowly(file: str, on_progress: Any) -> Any:
        on_progress(0.4, "Checking the rows")
        read_on.wait(30)
        return Library.add(library, file)

    monkeypatch.setattr(library, "add", slowly)
    steps = page.data.add(str(path), "")
    first = next(steps)
    assert "It is 0 and no more." in first[page.data.preview]
    while "Checking the rows" not in (step := next(steps))[page.data.notice]:
        pass
    assert 'aria-valuenow="40"' in step[page.data.notice]
    read_on.set()
    *_, last = steps
    assert last[page.data.notice] == ""
    assert "long.csv" in last[page.data.summary]


@pytest.mark.parametrize("error", [DataError("The disk is full."), MemoryError("disk is full")])
def test_a_long_file_that_fails_gives_the_place_back(
    page: Page,
    dataset_id: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    monkeypatch.setattr("app.data_tab.PEEK_SECONDS", 0.0)
    fail = threading.Event()

    def failing(_file: str, on_progress: Any) -> Any:
        on_progress(0.9, "Checking the rows")
        fail.wait(30)
        raise error

    monkeypatch.setattr(page.services.library, "add", failing)
    steps = page.data.add(str(make_table(tmp_path / "long.csv")), dataset_id)
    assert "long.csv" in next(steps)[page.data.summary]
    fail.set()
    shown: dict[Any, Any] = {}
    with pytest.raises(type(error), match="disk is full"):
        for step in steps:
            shown |= step
    assert "numbers.csv" in shown[page.data.summary]
    assert shown[page.data.actions]["visible"]


def test_the_last_choice_of_columns_counts_even_while_an_earlier_one_is_checked(
    page: Page,
) -> None:
    tab = page.data
    for control in (tab.shape, *tab.columns.values()):
        [event] = events(page, control, "input")
        assert event.trigger_mode == "always_last"
        assert event.concurrency_id == "roles"


def test_what_is_found_in_one_data_set_is_not_drawn_under_another(page: Page) -> None:
    tab = page.data
    checks = {
        check._id
        for control in (tab.shape, *tab.columns.values())
        for check in events(page, control, "input")
    }
    chosen = events(page, page.memory.dataset, "change")
    [cancels] = [each.cancels for each in chosen if each.cancels]
    assert set(cancels) == checks
    [clear] = [each for each in chosen if each.outputs == [tab.columns_notice]]
    assert clear.fn() == "", "how far the check was"


def test_what_was_said_goes_with_the_data_set_and_with_its_columns(
    page: Page, dataset_id: str
) -> None:
    data = page.data
    shown = data.choose(click(id=dataset_id))
    assert shown[data.columns_notice] == "", "it was about another data set"
    assert page.show_data(dataset_id)[data.notice] == "", "that another was deleted"
    columns = dict.fromkeys(data.columns) | {"prompt": "answer", "completion": "question"}
    *_, changed = data.change_roles(dataset_id, "pair", *columns.values())
    assert changed[data.notice] == changed[data.columns_notice] == ""
    [half] = data.change_shape(dataset_id, "text", *dict.fromkeys(data.columns).values())
    assert half[data.notice] == half[data.columns_notice] == ""
