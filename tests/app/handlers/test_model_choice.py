"""A base model that is chosen while another one is still looked at."""

from pathlib import Path

from app.main import Page
from tests import tiny
from tests.app.handlers.steps import STARTER, events, form


def test_the_last_choice_of_a_model_counts_even_while_an_earlier_one_is_looked_at(
    page: Page,
) -> None:
    [event] = events(page, page.train.layout.model, "input", "pick_model")
    assert event.trigger_mode == "always_last"
    assert event.concurrency_limit > 1, "windows wait for each other"


def test_what_comes_of_a_look_takes_no_later_choice_back(
    page: Page, dataset_id: str, tmp_path: Path
) -> None:
    layout = page.train.layout
    folder = str(tiny.save_model_folder(tmp_path / "tiny"))
    *_, seen = page.train.pick_model(dataset_id, folder, *form(page))
    for choice in (layout.model, layout.dataset):
        assert "value" not in seen[choice], "another one may have been chosen meanwhile"
    assert folder in [value for _, value in seen[layout.model]["choices"]]
    assert seen[page.memory.form]["base_model"] == folder
    *_, tidied = page.train.pick_model(dataset_id, f" {STARTER} ", *form(page))
    assert tidied[layout.model]["value"] == STARTER


def test_the_form_is_counted_once_more_after_it_was_drawn(
    page: Page, dataset_id: str, tmp_path: Path
) -> None:
    """Counts that were asked for before may come after it, and are of the model before."""
    layout = page.train.layout
    [first, recount] = events(page, layout.drawn, "change")
    assert first.fn is None
    assert recount.name == "recount"
    drawn = []
    for name in ("one", "two"):
        folder = str(tiny.save_model_folder(tmp_path / name))
        *_, seen = page.train.pick_model(dataset_id, folder, *form(page))
        drawn.append(seen[layout.drawn])
    assert drawn[0] != drawn[1]
    assert layout.drawn not in page.train.recount(True, "", dataset_id, STARTER, *form(page))
