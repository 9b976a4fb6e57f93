"""The data of the train tab: none, chosen elsewhere, gone, or not for this model."""

from pathlib import Path
from typing import Any

import pytest

from app.fields import TARGETS
from app.main import Page
from app.presets import PRESETS, matching_preset, preset_values
from app.services import Services
from app.starting import start_training
from lora_engine.config import TrainConfig
from lora_engine.errors import SettingsError
from tests import tiny
from tests.app.handlers.steps import STARTER, form, labelled


def test_nothing_starts_without_data(page: Page, services: Services) -> None:
    refused = page.train.start_run("", "", STARTER, *form(page))
    assert "Choose a data set" in refused[page.train.layout.dataset_problem]
    assert "Choose a data set" in refused[page.train.layout.trouble]
    assert services.store.list() == []


def test_that_data_are_missing_is_told_until_they_are_there(page: Page, dataset_id: str) -> None:
    """Whatever else is changed, also by counts that began before the button was pressed."""
    train, layout = page.train, page.train.layout
    told = train.start_run("", "", STARTER, *form(page))[layout.trouble]
    for before in ("", told):
        counted = train.recount(True, before, "", STARTER, *form(page))
        assert layout.dataset_problem not in counted
        assert layout.trouble not in counted
        assert "460,800" in counted[layout.counts]
    chosen = train.recount(True, told, dataset_id, STARTER, *form(page))
    assert chosen[layout.dataset_problem] == ""
    assert chosen[layout.trouble] == ""


def test_a_data_set_chosen_elsewhere_is_the_one_to_train_on(
    page: Page, services: Services, dataset_id: str, tmp_path: Path
) -> None:
    train, layout = page.train, page.train.layout
    moods = labelled(services, tmp_path)
    followed = train.follow(True, moods, dataset_id, STARTER, *form(page))
    assert followed[layout.dataset]["value"] == moods
    assert followed[layout.model]["value"] == "all-minilm-l6-v2"
    assert "MiniLM" in followed[layout.notice]
    (tmp_path / "more.csv").write_text("text,label\nhello there,glad\nwell then,sad\n")
    more = services.library.add(tmp_path / "more.csv").dataset_id
    again = train.follow(True, more, moods, "all-minilm-l6-v2", *form(page))
    assert layout.notice not in again, "it stays until it is read"
    gone = page.go_to_train(more, moods, "all-minilm-l6-v2", *form(page))
    assert layout.notice not in gone, "nor by a press that comes before the tab has followed"
    at_once = {layout.dataset}  # only the list, which may have grown
    assert train.follow(True, moods, moods, "all-minilm-l6-v2", *form(page)).keys() == at_once
    early = train.follow(False, moods, None, STARTER, *form(page))
    assert early.keys() == at_once, "what the browser remembers is still to come"


def test_a_fresh_page_has_a_model_for_its_data(
    page: Page, services: Services, tmp_path: Path
) -> None:
    train, layout = page.train, page.train.layout
    form_left = {"base_model": STARTER, "lora.r": 4}
    shown = train.restore(form_left, labelled(services, tmp_path))
    assert shown[layout.model]["value"] == "all-minilm-l6-v2"
    assert shown[layout.fields["lora.r"].control] == 4


def test_test_data_that_do_not_fit_other_data_are_put_away(
    page: Page, services: Services, dataset_id: str, tmp_path: Path
) -> None:
    train, layout = page.train, page.train.layout
    moods = labelled(services, tmp_path)
    (tmp_path / "other.csv").write_text("text,label\nhello there,glad\nwell then,sad\n")
    test = services.library.add(tmp_path / "other.csv").dataset_id
    control = layout.fields["test_dataset"].control
    fits = train.with_data(moods, "all-minilm-l6-v2", {**values(page), "test_dataset": test})
    assert fits[control]["choices"] == [("none", ""), ("other.csv", test)]
    assert "value" not in fits[control], "it stays"
    chat = train.with_data(dataset_id, STARTER, {**values(page), "test_dataset": test})
    assert chat[control]["choices"] == [("none", "")]
    assert chat[control]["value"] == ""
    refused = train.start_run("", dataset_id, STARTER, *form(page, test_dataset=test))
    assert "has no columns for prompt" in refused[layout.fields["test_dataset"].problem]
    assert services.store.list() == []


def values(page: Page) -> dict[str, Any]:
    return dict(zip(page.train.layout.fields, form(page), strict=True))


def test_one_label_alone_is_refused_before_a_run_waits(
    page: Page, services: Services, tmp_path: Path
) -> None:
    (tmp_path / "same.csv").write_text("text,label\n" + "\n".join(f"text {i},cat" for i in "abcd"))
    same = services.library.add(tmp_path / "same.csv").dataset_id
    layout = page.train.layout
    controls = form(page, **{TARGETS: ["query", "value"]})
    told = page.train.recount(True, "", same, "all-minilm-l6-v2", *controls)
    assert "Every row has the label “cat”" in told[layout.dataset_problem]
    refused = page.train.start_run("", same, "all-minilm-l6-v2", *controls)
    assert "Every row has the label “cat”" in refused[layout.trouble]
    assert services.store.list() == []


def test_the_counts_say_which_setting_cannot_be_used(page: Page, dataset_id: str) -> None:
    told = page.train.recount(True, "", dataset_id, STARTER, *form(page, learning_rate=-1))
    assert (
        "A setting cannot be used: Learning rate must be greater than 0"
        in (told[page.train.layout.counts])
    )


def test_a_fresh_page_comes_up_though_its_model_and_data_do_not_fit(
    page: Page, services: Services, dataset_id: str, tmp_path: Path
) -> None:
    """A classifier in a folder of one's own is not changed for another model."""
    train, layout = page.train, page.train.layout
    model = str(tiny.save_model_folder(tmp_path / "bert", tiny.bert().base_model))
    profile = services.profile(model)
    left = preset_values(PRESETS["balanced"], profile) | {"base_model": model}
    assert matching_preset({**layout.start_values, **left}, profile) == "balanced"
    shown = train.restore(left, dataset_id)
    assert shown[layout.model]["value"] == model
    assert "reads texts and cannot write" in shown[layout.model_problem]


def test_labels_of_other_columns_are_not_those_of_the_data_set(
    services: Services, tmp_path: Path
) -> None:
    lines = [f"text number {n},cat,{'ab'[n % 2]}" for n in range(8)]
    (tmp_path / "two.csv").write_text("text,label,second\n" + "\n".join(lines))
    dataset = services.library.add(tmp_path / "two.csv").dataset_id
    asked = {"base_model": "all-minilm-l6-v2", "dataset": dataset}
    with pytest.raises(SettingsError, match="Every row has the label “cat”"):
        start_training(services, TrainConfig.parse(asked))
    roles = {"text": "text", "label": "second"}
    assert start_training(services, TrainConfig.parse({**asked, "roles": roles})).id
