"""A data set whose rows are damaged or gone: the rest of the page does not suffer from it."""

from pathlib import Path

import pytest

from app.first_rows import rows_for_labels
from app.main import Page
from app.playground_view import example_prompts
from app.services import Services
from lora_engine.errors import RowsLostError
from tests.app.handlers.steps import finished

SAID = "can no longer be read"


@pytest.fixture(params=["gone", "empty", "cut"])
def lost(request: pytest.FixtureRequest, services: Services, dataset_id: str) -> str:
    rows = services.home / "datasets" / dataset_id / "rows.arrow"
    match request.param:
        case "gone":
            rows.unlink()
        case "empty":
            rows.write_bytes(b"")
        case _:
            rows.write_bytes(rows.read_bytes()[:-100])
    return dataset_id


def test_the_page_comes_up_and_the_data_set_can_be_deleted(
    page: Page, services: Services, lost: str, tmp_path: Path
) -> None:
    other = tmp_path / "other.csv"
    other.write_text("prompt,completion\nAnd one?,Two.\nAnd three?,Four.\n")
    kept = services.library.add(other).dataset_id
    finished(services, lost)
    data, shown = page.data, page.restore("data", lost, 0, {})
    assert shown[page.train.layout.restored] is True
    assert "other.csv" in shown[data.kept]
    assert "numbers.csv" in shown[data.summary]
    assert SAID in shown[data.preview]
    assert not shown[data.to_train]["interactive"]
    assert shown[data.actions]["visible"]
    assert "Two." in data.show(kept)[data.preview]

    assert "numbers.csv" in data.ask(lost)[data.confirm_text]
    assert data.remove(lost)[data.chosen] == kept
    assert services.library.add(tmp_path / "numbers.csv").dataset_id == lost
    assert SAID not in data.show(lost)[data.preview]


def test_other_columns_are_refused_with_the_reason(page: Page, lost: str) -> None:
    columns = dict.fromkeys(page.data.columns) | {"prompt": "answer", "completion": "question"}
    with pytest.raises(RowsLostError, match=SAID):
        list(page.data.change_roles(lost, "pair", *columns.values()))


def test_what_else_reads_the_rows(services: Services, lost: str) -> None:
    assert example_prompts(services.library, lost) == []
    text = services.library.get(lost).model_copy(update={"task": "text", "roles": {}})
    with pytest.raises(RowsLostError, match=SAID):
        rows_for_labels(services.library, text)
