"""The handlers of the train tab, without a browser: what each event changes."""

import math
from pathlib import Path
from typing import Any

import pytest

from app.fields import PATTERN, TARGETS
from app.guard import handler
from app.main import Page
from app.presets import PRESETS, matching_preset, preset_values
from app.services import Services
from app.starting import start_training
from app.train_form import Values
from jobs.store import JobStatus
from lora_engine.config import TrainConfig
from lora_engine.errors import SettingsError
from tests import tiny
from tests.app.handlers.steps import STARTER, click, form, labelled
from tests.conftest import ENCODER


def test_counts_follow_the_form(page: Page, dataset_id: str) -> None:
    train = page.train
    page.services.profile(STARTER)
    changes = train.recount(True, "", dataset_id, STARTER, *form(page))
    assert "460,800" in changes[train.layout.counts]
    assert "40 rows" not in changes[train.layout.estimate]
    assert "36 rows" in changes[train.layout.estimate]
    assert 'data-id="balanced" aria-pressed="true"' in changes[train.layout.presets]
    assert all(changes[drawn.problem] == "" for drawn in train.layout.fields.values())
    remembered = changes[page.memory.form]
    assert remembered["lora.r"] == 8
    assert remembered["base_model"] == STARTER


def test_long_texts_are_estimated_by_their_pieces(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "story.txt"
    path.write_text("\n".join(f"{number} and {'so it went on ' * 400}" for number in range(20)))
    train = page.train
    story = page.services.library.add(path)
    page.services.profile(STARTER)
    changes = train.recount(True, "", story.dataset_id, STARTER, *form(page, max_length=128))
    pieces = math.ceil(story.characters / 4 / 128)
    assert pieces > 20 * 10
    assert f"in pieces of 128 tokens, here about {pieces}" in changes[train.layout.estimate]
    changes = train.recount(True, "", story.dataset_id, STARTER, *form(page, max_length=8192))
    assert "pieces" not in changes[train.layout.estimate]
    assert "18 rows" in changes[train.layout.estimate]


def test_a_bad_value_is_said_next_to_its_field_only(page: Page, dataset_id: str) -> None:
    changes = page.train.recount(True, "", dataset_id, STARTER, *form(page, **{"lora.r": 0}))
    problems = {name: changes[drawn.problem] for name, drawn in page.train.layout.fields.items()}
    layout = page.train.layout
    assert "must be at least 1" in problems.pop("lora.r")
    assert set(problems.values()) == {""}
    assert layout.trouble not in changes
    assert "460,800" not in changes[layout.counts]
    assert "–</strong>" in changes[layout.counts]
    assert changes[layout.estimate] == ""


@pytest.mark.parametrize("button", ["start", "save"])
def test_a_press_that_does_nothing_says_why_under_the_button(
    page: Page, dataset_id: str, button: str
) -> None:
    train, layout = page.train, page.train.layout
    bad = form(page, batch_size=0)
    press = {"start": lambda *at: train.start_run("", *at), "save": train.save_settings}[button]
    refused = press(dataset_id, STARTER, *bad)
    assert "Batch size must be at least 1" in refused[layout.trouble]
    assert "must be at least 1" in refused[layout.fields["batch_size"].problem]
    assert refused[layout.advanced]["open"], "the field is folded away"
    told = refused[layout.trouble]
    other = train.recount(True, told, dataset_id, STARTER, *form(page, epochs=0))
    assert "Epochs must be greater than 0" in other[layout.trouble]
    repaired = train.recount(True, told, dataset_id, STARTER, *form(page))
    assert repaired[layout.trouble] == ""
    late = train.recount(True, "", dataset_id, STARTER, *form(page))
    assert layout.trouble not in late, "what was said meanwhile stays"
    assert layout.advanced not in press(dataset_id, STARTER, *form(page, **{"lora.r": 0}))


def test_a_model_that_cannot_be_found_is_told_under_the_button_too(
    page: Page, dataset_id: str, tmp_path: Path
) -> None:
    refused = page.train.start_run("", dataset_id, str(tmp_path / "nowhere"), *form(page))
    assert "nowhere" in refused[page.train.layout.model_problem]
    assert "nowhere" in refused[page.train.layout.trouble]


def test_what_is_no_settings_file_is_told_until_the_next_edit(
    page: Page, dataset_id: str, tmp_path: Path
) -> None:
    train, layout = page.train, page.train.layout
    (tmp_path / "no.json").write_text("[[[")
    refused = train.load_settings(str(tmp_path / "no.json"), dataset_id, STARTER, *form(page))
    assert "not a settings file" in refused[layout.trouble]
    edited = train.recount(True, refused[layout.trouble], dataset_id, STARTER, *form(page))
    assert edited[layout.trouble] == ""


def test_what_belongs_to_no_field_is_told_once_and_cleared(page: Page, dataset_id: str) -> None:
    train, layout = page.train, page.train.layout
    both = form(page, **{"lora.use_dora": True, "lora.init_lora_weights": "pissa"})
    told = train.recount(True, "", dataset_id, STARTER, *both)[layout.trouble]
    assert "DoRA" in told
    assert train.recount(True, told, dataset_id, STARTER, *form(page))[layout.trouble] == ""


def test_a_page_that_is_not_restored_yet_forgets_nothing(page: Page, dataset_id: str) -> None:
    train, values = page.train, form(page)
    early = train.recount(False, "", dataset_id, STARTER, *values)
    assert "460,800" in early[train.layout.counts]
    assert page.memory.form not in early
    remembered = {"base_model": STARTER, "lora.r": 32}
    back = page.restore("train", dataset_id, 0, remembered)
    assert back[train.layout.restored] is True
    assert back[page.memory.form]["lora.r"] == 32
    late = train.recount(True, "", dataset_id, STARTER, *values)
    assert late[page.memory.form]["lora.r"] == 8


def test_a_bad_value_is_told_with_the_fields_label(page: Page, dataset_id: str) -> None:
    values = form(page, **{"lora.loraplus_lr_ratio": 0})
    changes = page.train.recount(True, "", dataset_id, STARTER, *values)
    said = changes[page.train.layout.fields["lora.loraplus_lr_ratio"].problem]
    assert "LoRA+ ratio must be at least 1" in said


@pytest.mark.parametrize(
    ("pattern", "said"), [("(q_proj", "no regular expression"), ("nose", "choose no module")]
)
def test_a_pattern_that_cannot_be_used_is_told_at_its_field(
    page: Page, dataset_id: str, pattern: str, said: str
) -> None:
    changes = page.train.recount(True, "", dataset_id, STARTER, *form(page, **{PATTERN: pattern}))
    assert said in changes[page.train.layout.fields[PATTERN].problem]


def test_every_tensor_is_listed_before_and_after(page: Page, dataset_id: str) -> None:
    panel, values = page.train.tensors, form(page, **{"lora.r": 4})

    def table(when: str, part: str = "", only: bool = False) -> str:
        drawn = panel.draw(True, when, part, only, dataset_id, STARTER, *values)
        return str(drawn[panel.table])

    before = table("before", "layers.3.self_attn.q_proj")
    assert "model.layers.3.self_attn.q_proj.weight" in before
    assert "lora_A" not in before
    after = table("after", "layers.3.self_attn.q_proj")
    assert "4 × 576" in after
    assert after.count('<tr class="trained">') == 2
    assert after.count('<tr class="frozen">') == 1
    assert '<tr class="frozen">' not in table("after", only=True)
    assert "230,400" in table("after"), "what is trained with r = 4 on q and v"
    assert "No tensor has such a name" in table("after", "nothing like this")
    assert panel.draw(False, "after", "", False, dataset_id, STARTER, *values) == {}


def test_a_table_that_cannot_be_made_is_a_sentence(page: Page, dataset_id: str) -> None:
    panel, values = page.train.tensors, form(page, **{"lora.r": 0})
    guarded = handler(panel.notice)(panel.draw)
    said = guarded(True, "after", "", False, dataset_id, STARTER, *values)[panel.notice]
    assert "must be at least 1" in said


def test_choosing_a_model_offers_its_modules(
    page: Page, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Services, "knows_profile", lambda *_: False)  # not looked at before
    layout = page.train.layout
    busy, done = page.train.pick_model(dataset_id, STARTER, *form(page, **{TARGETS: ["nose"]}))
    assert "Reading the structure" in busy[layout.model_notice]
    modules = done[layout.fields[TARGETS].control]
    assert modules["value"] == ["q_proj", "v_proj"]
    assert ("down_proj × 30", "down_proj") in modules["choices"]
    assert "134,515,008" in done[layout.model_notice]
    assert "212 modules" in done[layout.model_notice]
    assert ("SmolLM2 135M Instruct (answers)", STARTER) in done[layout.model]["choices"]
    others = {drawn.control for name, drawn in layout.fields.items() if name != TARGETS}
    changed = [done[control] for control in others & done.keys()]
    assert all(isinstance(update, dict) and "value" not in update for update in changed), (
        "what was typed while it was looked at stays"
    )


def test_labelled_texts_are_shown_and_choose_their_model(
    page: Page, services: Services, tmp_path: Path
) -> None:
    dataset = labelled(services, tmp_path)
    shown = page.data.show(dataset)
    assert shown[page.data.shape] == "labelled"
    assert shown[page.data.columns["label"]]["visible"]
    assert "3 labels" in shown[page.data.summary]
    assert "9 (64%)" in shown[page.data.summary]
    assert "glad" in shown[page.data.preview]

    layout = page.train.layout
    changes = page.go_to_train(dataset, "", STARTER, *form(page))
    assert changes[layout.model]["value"] == "all-minilm-l6-v2"
    assert "MiniLM" in changes[layout.notice]
    assert changes[layout.fields["batch_size"].control] == 16
    assert changes[layout.fields[TARGETS].control]["value"] == ["query", "value"]
    # two labels are 74,498; a third adds a row of 384 weights and a bias to the head
    assert f"{74_498 + 385:,}" in changes[layout.counts]
    assert changes[layout.fields["class_weights"].box]["elem_classes"] == ["field"]
    back = page.train.pick_data("", "all-minilm-l6-v2", *form(page))
    assert back[layout.model]["value"] == STARTER


def test_data_and_model_that_do_not_go_together_are_told(
    page: Page, services: Services, dataset_id: str
) -> None:
    changes = page.train.recount(True, "", dataset_id, "all-minilm-l6-v2", *form(page))
    assert "reads texts and cannot write" in changes[page.train.layout.model_problem]
    refused = page.train.start_run("", dataset_id, "all-minilm-l6-v2", *form(page))
    assert "cannot write" in refused[page.train.layout.model_problem]
    assert services.store.list() == []


@pytest.mark.parametrize(
    ("method", "shown", "hidden"),
    [
        ("lora", "lora.use_dora", "lora.galore_scale"),
        ("galore", "lora.r", "lora.lora_alpha"),
        ("freeze", "lora.freeze_trainable_layers", "lora.r"),
        ("full", "learning_rate", TARGETS),
    ],
)
def test_only_the_fields_of_a_method_are_shown(
    page: Page, dataset_id: str, method: str, shown: str, hidden: str
) -> None:
    fields = page.train.layout.fields
    changes = page.train.pick_deciding(dataset_id, STARTER, *form(page, **{"lora.method": method}))
    assert changes[fields[shown].box]["elem_classes"] == ["field"]
    assert changes[fields[hidden].box]["elem_classes"] == ["field", "off"]


def test_what_the_best_goes_by_is_asked_of_a_classifier_that_keeps_one(
    page: Page, dataset_id: str, tmp_path: Path
) -> None:
    box = page.train.layout.fields["metric_for_best_model"].box
    moods = labelled(page.services, tmp_path)
    off = {"load_best_model_at_end": False, "early_stopping_patience": None}
    for data, changes, shown in (
        (moods, {"load_best_model_at_end": True}, True),
        (moods, {"early_stopping_patience": 3}, True),
        (moods, {}, False),
        (dataset_id, {"load_best_model_at_end": True}, False),
    ):
        updates = page.train.pick_deciding(data, STARTER, *form(page, **off | changes))
        assert updates[box]["elem_classes"] == (["field"] if shown else ["field", "off"])


HELD_OUT_ONLY = ("sample_answers", "load_best_model_at_end", "early_stopping_patience")


@pytest.mark.parametrize(
    ("model", "changes", "hidden"),
    [
        (STARTER, {}, {"lora.bias"}),
        (ENCODER, {}, {"sample_answers"}),
        (STARTER, {"validation_share": 0}, {"lora.bias", *HELD_OUT_ONLY}),
        (STARTER, {"start_from": "an adapter"}, {"lora.bias", "lora.init_lora_weights"}),
    ],
)
def test_what_does_nothing_is_hidden(
    page: Page, dataset_id: str, tmp_path: Path, model: str, changes: Values, hidden: set[str]
) -> None:
    """SmolLM2 has no bias vectors, MiniLM has; a classifier answers no questions."""
    layout = page.train.layout
    data = dataset_id if model == STARTER else labelled(page.services, tmp_path)
    updates = page.train.pick_deciding(data, model, *form(page, **changes))
    asked = {"lora.bias", "lora.init_lora_weights", *HELD_OUT_ONLY}
    off = {n for n in asked if "off" in updates[layout.fields[n].box]["elem_classes"]}
    assert off == hidden


def test_what_this_machine_lacks_is_said_at_its_field(page: Page, dataset_id: str) -> None:
    fields = page.train.layout.fields
    changes = page.train.recount(
        True, "", dataset_id, STARTER, *form(page, start_from="/no/such/adapter")
    )
    assert "There is no adapter at /no/such/adapter" in changes[fields["start_from"].problem]
    changes = page.train.recount(True, "", dataset_id, STARTER, *form(page, test_dataset="nope"))
    assert "There is no data set “nope”" in changes[fields["test_dataset"].problem]


def test_a_choice_that_is_gone_is_passed_over(page: Page, dataset_id: str) -> None:
    values = form(page, **{TARGETS: ["q_proj", "query", "v_proj"]})
    changes = page.train.recount(True, "", dataset_id, STARTER, *values)
    assert "460,800" in changes[page.train.layout.counts]


def test_presets_fill_the_form(page: Page) -> None:
    page.services.profile(STARTER)
    fields = page.train.layout.fields
    thorough = page.train.use_preset("", STARTER, click(id="thorough"))
    assert thorough[fields["lora.r"].control] == 16
    assert len(thorough[fields[TARGETS].control]) == 7
    assert page.train.use_usual("", STARTER) == {fields[TARGETS].control: ["q_proj", "v_proj"]}


def test_starting_a_run_shows_it(page: Page, services: Services, dataset_id: str) -> None:
    started = page.train.start_run("First", dataset_id, STARTER, *form(page))
    [job] = services.store.list()
    assert (job.name, job.status) == ("First", JobStatus.queued)
    assert started[page.memory.run] == job.id
    assert started[page.memory.tab] == "runs"
    again = page.train_again(job.id)
    assert again[page.train.layout.dataset]["value"] == dataset_id
    assert "First" in again[page.train.layout.notice]


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
