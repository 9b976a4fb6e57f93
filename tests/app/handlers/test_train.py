"""The handlers of the train tab, without a browser: what each event changes."""

import math
from pathlib import Path

import pytest

from app.fields import PATTERN, TARGETS
from app.guard import handler
from app.main import Page
from app.services import Services
from jobs.store import JobStatus
from tests.app.handlers.steps import STARTER, click, form, labelled


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
