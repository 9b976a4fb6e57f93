"""The tabs' handlers without a browser: what they change for what they are given."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from app.comparing import Conversations
from app.fields import PATTERN, TARGETS
from app.guard import handler
from app.html import notice
from app.main import Page
from app.services import Services
from app.wording import common
from jobs.generation import GenerationError
from jobs.store import JobStatus
from lora_engine.config import TrainConfig
from lora_engine.data import Library, Turn
from lora_engine.errors import DataError
from lora_engine.progress import Progress
from tests.app.conftest import make_table

STARTER = "smollm2-135m-instruct"


class Script:
    """Stands in for the generation child: gives the events it was told to give."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.asked: list[tuple[Any, ...]] = []
        self.stops = 0

    def answer(self, *request: Any, **named: Any) -> Iterator[dict[str, Any]]:
        self.asked.append((*request, *named.values()))
        for event in self.events:
            if event["event"] == "error":
                raise GenerationError(event["message"])
            yield event

    def classify(self, *request: Any) -> Iterator[dict[str, Any]]:
        yield from self.answer(*request)

    def stop(self) -> None:
        self.stops += 1


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    opened = Services.open(tmp_path / "home")
    scripted = Services(opened.home, opened.store, opened.library, Script())  # type: ignore[arg-type]
    yield scripted
    opened.close()
    opened.store.close()


@pytest.fixture
def page(services: Services) -> Page:
    async def build() -> Page:  # inside a loop, or Gradio leaves loops of its own open
        with gr.Blocks(analytics_enabled=False):
            return Page(services)

    return asyncio.run(build())


@pytest.fixture
def dataset_id(services: Services, tmp_path: Path) -> str:
    return services.library.add(make_table(tmp_path / "numbers.csv")).dataset_id


def click(**data: Any) -> gr.EventData:
    return gr.EventData(None, data)


def form(page: Page, **changes: Any) -> list[Any]:
    """The values of all controls."""
    values = {**page.train.layout.start_values, TARGETS: ["q_proj", "v_proj"], **changes}
    return [values[name] for name in page.train.layout.fields]


def finished(services: Services, dataset_id: str, name: str = "Done", **settings: Any) -> int:
    """A run that ended well, with something in place of its zip."""
    store = services.store
    given = {"base_model": STARTER, "dataset": dataset_id, **settings}
    job = store.enqueue(TrainConfig.parse(given), name)
    store.claim("w", "cpu")
    store.record(job.id, "w", Progress(phase="training", step=2, total_steps=2, loss=1.0))
    store.job_dir(job.id).mkdir(parents=True)
    (store.job_dir(job.id) / "adapter.zip").write_bytes(b"zip")
    store.succeed(job.id, "w", {"loss_first": 2.0, "loss_last": 1.0})
    return job.id


# Data


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


def test_a_long_file_that_fails_gives_the_place_back(
    page: Page, dataset_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.data_tab.PEEK_SECONDS", 0.0)
    fail = threading.Event()

    def failing(_file: str, on_progress: Any) -> Any:
        on_progress(0.9, "Checking the rows")
        fail.wait(30)
        raise DataError("The disk is full.")

    monkeypatch.setattr(page.services.library, "add", failing)
    steps = page.data.add(str(make_table(tmp_path / "long.csv")), dataset_id)
    assert "long.csv" in next(steps)[page.data.summary]
    fail.set()
    shown: dict[Any, Any] = {}
    with pytest.raises(DataError, match="disk is full"):
        for step in steps:
            shown |= step
    assert "numbers.csv" in shown[page.data.summary]
    assert shown[page.data.actions]["visible"]


# Train


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
    assert "nowhere" in refused[page.train.layout.model_notice]
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
    assert "211 modules" in done[layout.model_notice]
    assert ("SmolLM2 135M Instruct (answers)", STARTER) in done[layout.model]["choices"]


def labelled(services: Services, tmp_path: Path) -> str:
    """A small set of texts with three uneven labels."""
    path = tmp_path / "moods.csv"
    moods = ["glad"] * 9 + ["sad"] * 3 + ["cross"] * 2
    lines = [f"This is text number {i} here,{mood}" for i, mood in enumerate(moods)]
    path.write_text("\n".join(["text,label", *lines]) + "\n")
    return services.library.add(path).dataset_id


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
    assert "reads texts and cannot write" in changes[page.train.layout.model_notice]
    refused = page.train.start_run("", dataset_id, "all-minilm-l6-v2", *form(page))
    assert "cannot write" in refused[page.train.layout.model_notice]
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
    changes = page.train.pick_method(dataset_id, STARTER, *form(page, **{"lora.method": method}))
    assert changes[fields[shown].box]["elem_classes"] == ["field"]
    assert changes[fields[hidden].box]["elem_classes"] == ["field", "off"]


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


def test_a_text_is_sorted_side_by_side(page: Page, services: Services, tmp_path: Path) -> None:
    tab, script = page.playground, services.generator
    assert isinstance(script, Script)
    dataset = labelled(services, tmp_path)
    roles = {"text": "text", "label": "label"}
    run = finished(services, dataset, roles=roles)
    changes = tab.pick(run)
    assert "The labels appear here" in changes[tab.sides.adapted]["value"]
    assert not changes[tab.controls.decoding_box]["visible"]
    assert changes[tab.send] == "Sort with both"
    assert not changes[tab.pair]["visible"]
    assert changes[tab.examples_list][0] == ("This is text number 0 here", "")
    assert tab.use_example(changes[tab.examples_list], click(id="0"))[tab.prompt].startswith("This")
    script.events = [
        {"event": "status", "message": "Loading"},
        {"event": "done", "labels": ["glad", "sad"], "probabilities": [[0.5, 0.5], [0.9, 0.1]]},
    ]
    steps = ask(page, run, "What a day")
    told = next(step for step in steps if tab.sides.adapted in step)
    assert "90.0%" in told[tab.sides.adapted]
    assert "50.0%" in told[tab.sides.base]
    _, rows = script.asked[0]
    assert [row["adapter"] is None for row in rows] == [True, False]
    assert rows[1]["text"] == "What a day"
    assert steps[-1][tab.send]["interactive"]


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


# Runs


def test_polling_sends_nothing_while_nothing_changes(
    page: Page, services: Services, dataset_id: str
) -> None:
    runs = page.runs
    done = finished(services, dataset_id)
    first = runs.poll(done, "")
    assert first[runs.playground]["visible"]
    assert first[runs.download]["visible"]
    assert not first[runs.stop]["visible"]
    assert "adapters/" in first[runs.download]["value"]
    seen = first[runs.seen]
    assert runs.poll(done, seen) == {runs.seen: gr.skip()}
    assert "“numbers.csv”" in first[runs.settings]
    assert f"&quot;dataset&quot;: &quot;{dataset_id}&quot;" in first[runs.settings]
    services.store.enqueue(TrainConfig(base_model=STARTER, dataset=dataset_id), "Next")
    assert "Next" in runs.poll(done, seen)[runs.list]


def test_stop_resume_and_delete(page: Page, services: Services, dataset_id: str) -> None:
    runs = page.runs
    job = services.store.enqueue(TrainConfig(base_model=STARTER, dataset=dataset_id), "Waiting")
    assert "taken out of the queue" in runs.ask_stop(job.id)[runs.notice]
    assert runs.poll(job.id, "")[runs.resume]["visible"]
    assert "in the queue again" in runs.go_on(job.id)[runs.notice]
    assert "Waiting" in runs.ask(job.id)[runs.confirm_text]
    assert runs.remove(job.id)[runs.chosen] == 0
    assert services.store.list() == []


def test_a_fresh_page_shows_the_run_at_work(
    page: Page, services: Services, dataset_id: str
) -> None:
    runs = page.runs
    assert runs.restore(5)[runs.chosen] == 0
    old = finished(services, dataset_id)
    assert runs.restore(0)[runs.chosen] == old
    waiting = services.store.enqueue(TrainConfig(base_model=STARTER, dataset=dataset_id))
    assert runs.restore(999)[runs.chosen] == waiting.id
    assert runs.restore(old)[runs.chosen] == old


# Playground


def ask(
    page: Page, run: int | None, prompt: str, *, others: tuple[int, ...] = (), seed: int = 0
) -> list[dict[Any, Any]]:
    tab = page.playground
    guarded = tab.guarded_ask(run, list(others), prompt, None, Conversations(), 0, 64, 1, seed, "")
    return list(guarded)


def test_both_answers_stream_and_the_conversation_goes_on(
    page: Page, services: Services, dataset_id: str
) -> None:
    tab, script = page.playground, services.generator
    assert isinstance(script, Script)
    run = finished(services, dataset_id)
    script.events = [
        {"event": "status", "message": "Loading the model"},
        {"event": "text", "row": 1, "text": "Ahoy"},
        {"event": "done", "texts": ["Hello.\n\n", "Ahoy!"], "divergence": 0.4,
         "tokens_per_second": 20.0, "stopped": False, "cut": [True, False]},
    ]  # fmt: skip
    steps = ask(page, run, "Hi?")
    assert any("Loading the model" in str(step.get(tab.notice, "")) for step in steps)
    assert any("Ahoy" in step.get(tab.sides.adapted, "") for step in steps[:-2])
    last = {key: value for step in steps for key, value in step.items()}
    assert "Hello.<" in last[tab.sides.base], "without the empty lines at its end"
    assert "Ahoy!" in last[tab.sides.adapted]
    assert "Cut at the longest answer" in last[tab.sides.base]
    assert "Cut at" not in last[tab.sides.adapted]
    assert "clearly" in last[tab.badge]
    assert last[tab.prompt] == ""
    assert last[tab.send]["interactive"]
    assert not last[tab.stop]["interactive"]
    assert last[tab.said].sides[1] == (
        Turn(role="user", content="Hi?"), Turn(role="assistant", content="Ahoy!"),
    )  # fmt: skip
    [(model, rows, options, divergence)] = script.asked
    assert model == STARTER
    assert [bool(row["adapter"]) for row in rows] == [False, True]
    assert options == {"max_new_tokens": 64, "temperature": 0, "seed": 0}
    assert divergence is True


def test_base_and_four_adapters_answer_in_columns_of_their_own(
    page: Page, services: Services, dataset_id: str
) -> None:
    tab, script = page.playground, services.generator
    assert isinstance(script, Script)
    runs = [finished(services, dataset_id, f"Run {letter}") for letter in "ABCDE"]
    elsewhere = finished(services, dataset_id, "Other base", base_model="another")
    offered = tab.pick(runs[0])
    assert offered[tab.choice.others_box]["visible"]
    assert [each for _, each in offered[tab.choice.others]["choices"]] == runs[:0:-1]
    assert not tab.pick(elsewhere)[tab.choice.others_box]["visible"]

    chosen = tab.start_over(runs[0], runs[1:4])
    shown = [chosen[column]["visible"] for column in tab.sides.columns]
    assert shown == [True] * 5
    assert "Run D" in chosen[tab.sides.columns[4]]["value"]
    assert chosen[tab.send] == "Send to all 5"
    assert "all of them" in chosen[tab.prompt]["placeholder"]
    assert "both" in tab.pick(runs[0])[tab.prompt]["placeholder"]
    fewer = tab.start_over(runs[0], runs[1:2])
    assert [fewer[column]["visible"] for column in tab.sides.columns] == [True] * 3 + [False] * 2

    script.events = [
        {"event": "text", "row": 4, "text": "from the last"},
        {"event": "done", "texts": list("vwxyz"), "divergence": 0.4,
         "divergences": [None, 0.4, 0.0, 0.01, 2.0], "tokens_per_second": 20.0, "stopped": False,
         "cut": [False] * 5},
    ]  # fmt: skip
    steps = ask(page, runs[0], "Hi?", others=tuple(runs[1:4]))
    assert any("from the last" in step.get(tab.sides.columns[4], "") for step in steps)
    last = {key: value for step in steps for key, value in step.items()}
    for column, answer in zip(tab.sides.columns, "vwxyz", strict=True):
        assert f">{answer}<" in last[column]
    notes = ("", "clearly changes", "practically nothing", "slightly", "very much")
    for column, note in zip(tab.sides.columns, notes, strict=True):
        assert note in last[column]
    assert "side-note" not in last[tab.sides.base]
    [(_, rows, _, _)] = script.asked
    files = [str(services.store.adapter_zip(run)) for run in runs[:4]]
    assert [row["adapter"] for row in rows] == [None, *files]

    refused = ask(page, runs[0], "Hi?", others=tuple(runs[1:]))
    assert "at most 3" in refused[-1][tab.notice]
    mixed = ask(page, runs[0], "Hi?", others=(elsewhere,))
    assert any("on one base model" in step.get(tab.notice, "") for step in mixed)


def test_what_was_said_outlives_another_tab(
    page: Page, services: Services, dataset_id: str
) -> None:
    tab = page.playground
    first = finished(services, dataset_id)
    newer = finished(services, dataset_id, "Newer")
    again = tab.look_again(first, [])
    assert tab.said not in again
    assert tab.sides.base not in again
    assert again[tab.choice.run]["value"] == first
    assert [each for _, each in again[tab.choice.others]["choices"]] == [newer]
    services.store.delete(first)
    assert tab.look_again(first, [])[tab.choice.run]["value"] == newer


def test_a_failed_answer_gives_the_message_back(
    page: Page, services: Services, dataset_id: str
) -> None:
    tab, script = page.playground, services.generator
    assert isinstance(script, Script)
    script.events = [{"event": "error", "message": "There is not enough memory."}]
    steps = ask(page, finished(services, dataset_id), "Hi?")
    last = {key: value for step in steps for key, value in step.items()}
    assert last[tab.notice] == notice("error", "There is not enough memory.")
    assert last[tab.prompt] == "Hi?"
    assert last[tab.send]["interactive"]


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_an_empty_message_is_not_sent(
    page: Page, services: Services, dataset_id: str, prompt: str
) -> None:
    [_, refused] = ask(page, finished(services, dataset_id), prompt)
    assert "Type a message" in refused[page.playground.notice]


def test_the_playground_without_a_run(page: Page) -> None:
    empty = page.playground.refresh(None)
    assert empty[page.playground.empty]["visible"]
    [_, refused] = ask(page, None, "Hi?")
    assert "Choose a finished run" in refused[page.playground.notice]


def test_examples_come_from_the_runs_data(page: Page, services: Services, dataset_id: str) -> None:
    tab = page.playground
    shown = tab.refresh(finished(services, dataset_id))
    prompts = shown[tab.examples_list]
    assert prompts == [(f"What is {number}?", "") for number in (0, 10, 20, 30)]
    used = tab.use_example(prompts, click(id="2"))
    assert used == {tab.prompt: "What is 20?", tab.pair: ""}
    assert tab.use_example(prompts, click(id="9")) == {}
    services.library.remove(dataset_id)
    assert tab.pick(shown[tab.choice.run]["value"])[tab.examples] == ""


# After training


def test_after_training_is_there_for_an_adapter(
    page: Page, services: Services, dataset_id: str
) -> None:
    after = page.runs.after
    run = finished(services, dataset_id)
    shown = after.show(run)
    assert shown[after.panel]["visible"]
    assert shown[after.combine_none]["visible"]
    assert shown[after.shrink_r] == 4
    assert "about 538.1 MB" in shown[after.merge_hint]
    assert "deleted with the run" in shown[after.merge_hint]
    other = finished(services, dataset_id, "Other")
    finished(services, dataset_id, "DoRA", lora={"use_dora": True})
    offered = after.offer_others(run)
    assert offered[after.combine_box]["visible"]
    assert offered[after.other]["choices"] == [(f"Other (#{other})", other)]
    whole = finished(services, dataset_id, "Whole", lora={"method": "full"})
    shown = after.show(whole)
    assert shown[after.panel]["visible"], "a full model can be made of it"
    assert not any(shown[each]["visible"] for each in (after.ranks_box, after.sum_box, after.gguf))
    assert "own weights" in shown[after.export_title]
    assert page.runs.choose(click(id=str(whole)))[after.panel]["visible"], "and stays"
    assert after.show(run)[after.gguf]["visible"]
    asked = {"base_model": STARTER, "dataset": dataset_id}
    waiting = services.store.enqueue(TrainConfig.parse(asked), "Waiting").id
    shown = after.show(waiting)
    assert not shown[after.panel]["visible"]
    assert shown[after.ranks_box]["visible"], "as it will be once the run has ended"
    assert not after.pick_way("cat")[after.combine_r]["visible"]
    assert not after.show(0)[after.panel]["visible"]


def test_long_work_is_told_at_its_own_place(
    page: Page, services: Services, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = page.runs.after
    run = finished(services, dataset_id)
    made = services.store.get(finished(services, dataset_id, "Made"))
    monkeypatch.setattr("app.making.shrink", lambda *_: (made, {"sentence": "From rank 8 to 2."}))
    steps = list(after.make_smaller(run, 2))
    assert 'role="progressbar"' in steps[0][after.shrink_place]
    said = steps[-1][after.shrink_place]
    assert "From rank 8 to 2." in said
    assert f'data-id="{made.id}"' in said
    assert after.run not in steps[-1], "the chosen run stays"
    assert after.open_made(click(id=str(made.id))) == {after.run: made.id}
    refused = list(handler(after.shrink_place)(after.make_smaller)(run, None))
    assert "Type the new rank" in refused[-1][after.shrink_place]

    monkeypatch.setattr(
        "app.making.export", lambda *_: (services.home / "merged", {"sentence": "Made."})
    )
    exported = list(after.export_merged(run))[-1]
    assert "merged" in exported[after.exported["merged"]]
    assert after.exported["gguf"] not in exported, "the link to the other export stays"


def test_training_goes_on_from_an_adapter(page: Page, services: Services, dataset_id: str) -> None:
    run = finished(services, dataset_id, "Done", lora={"r": 4})
    changes = page.train_further(run, dataset_id)
    fields = page.train.layout.fields
    start = changes[fields["start_from"].control]
    assert start["value"] == str(services.store.adapter_zip(run))
    assert changes[fields["lora.r"].control] == 4
    assert "goes on from “Done”" in changes[page.train.layout.notice]
    assert changes[page.memory.tab] == "train"


# What may go wrong anywhere


def test_unexpected_errors_are_a_general_sentence(
    page: Page, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> dict[Any, Any]:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("app.guard.log.propagate", True)
    shown = handler(page.data.notice)(broken)()
    assert shown == {page.data.notice: notice("error", common.UNEXPECTED)}
    assert "secret detail" in caplog.text
