"""The handlers of the playground tab, without a browser: what each event changes."""

from pathlib import Path
from typing import Any

import pytest

from app.endpoints import Endpoints
from app.html import notice
from app.main import Page
from app.services import Services
from jobs.generation import GenerationError
from lora_engine.data import Turn
from lora_engine.errors import AdapterError, SettingsError
from tests.app.handlers.conftest import Script
from tests.app.handlers.steps import STARTER, asking, click, finished, labelled, window


def ask(
    page: Page, run: int | None, prompt: str, *, others: tuple[int, ...] = (), seed: int = 0
) -> list[dict[Any, Any]]:
    return list(asking(page, run, prompt, others=others, seed=seed))


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
    assert any("Ahoy" in step.get(tab.sides.columns[1], "") for step in steps[:-2])
    last = {key: value for step in steps for key, value in step.items()}
    assert "Hello.<" in last[tab.sides.columns[0]], "without the empty lines at its end"
    assert "Ahoy!" in last[tab.sides.columns[1]]
    assert "Cut at the longest answer" in last[tab.sides.columns[0]]
    assert "Cut at" not in last[tab.sides.columns[1]]
    assert "clearly" in last[tab.badge]
    assert last[tab.prompt] == ""
    assert last[tab.send]["interactive"]
    assert not last[tab.stop]["interactive"]
    assert last[tab.said].sides[1] == (
        Turn(role="user", content="Hi?"), Turn(role="assistant", content="Ahoy!"),
    )  # fmt: skip
    [(model, rows, options, divergence, asker)] = script.asked
    assert asker == "one"
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
    assert "side-note" not in last[tab.sides.columns[0]]
    [(_, rows, *_)] = script.asked
    files = [str(services.store.adapter_zip(run)) for run in runs[:4]]
    assert [row["adapter"] for row in rows] == [None, *files]

    refused = ask(page, runs[0], "Hi?", others=tuple(runs[1:]))
    assert "at most 3" in refused[-1][tab.notice]
    mixed = ask(page, runs[0], "Hi?", others=(elsewhere,))
    assert any("on one base model" in step.get(tab.notice, "") for step in mixed)


def test_runs_that_quantised_the_base_differently_do_not_answer_together(
    page: Page, services: Services, dataset_id: str
) -> None:
    tab, script = page.playground, services.generator
    assert isinstance(script, Script)
    whole = finished(services, dataset_id, "Whole")
    small, other = (finished(services, dataset_id, n, quantization="nf4") for n in "AB")
    assert [each for _, each in tab.pick(small)[tab.choice.others]["choices"]] == [other]
    assert not tab.pick(whole)[tab.choice.others_box]["visible"]
    mixed = ask(page, small, "Hi?", others=(whole,))
    assert any("quantised the base differently" in step.get(tab.notice, "") for step in mixed)
    assert script.asked == []
    said = "as it was before the training; in 4 bits (NF4) on every side, as in the run<"
    assert said in tab.pick(small)[tab.sides.columns[0]]["value"]
    assert said in tab.start_over(small, [other])[tab.sides.columns[0]]["value"]
    assert "as it was before the training<" in tab.pick(whole)[tab.sides.columns[0]]["value"]


def test_what_was_said_outlives_another_tab(
    page: Page, services: Services, dataset_id: str
) -> None:
    tab = page.playground
    first = finished(services, dataset_id)
    newer = finished(services, dataset_id, "Newer")
    again = tab.look_again(window("one"), first, [])
    assert tab.said not in again
    assert tab.sides.columns[0] not in again
    assert again[tab.choice.run]["value"] == first
    assert [each for _, each in again[tab.choice.others]["choices"]] == [newer]
    services.store.delete(first)
    assert tab.look_again(window("one"), first, [])[tab.choice.run]["value"] == newer


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


def test_a_text_is_sorted_side_by_side(page: Page, services: Services, tmp_path: Path) -> None:
    tab, script = page.playground, services.generator
    assert isinstance(script, Script)
    dataset = labelled(services, tmp_path)
    roles = {"text": "text", "label": "label"}
    run = finished(services, dataset, roles=roles)
    changes = tab.pick(run)
    assert "The labels appear here" in changes[tab.sides.columns[1]]["value"]
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
    told = next(step for step in steps if tab.sides.columns[1] in step)
    assert "90.0%" in told[tab.sides.columns[1]]
    assert "50.0%" in told[tab.sides.columns[0]]
    _, rows, asker = script.asked[0]
    assert asker == "one"
    assert [row["adapter"] is None for row in rows] == [True, False]
    assert rows[1]["text"] == "What a day"
    assert steps[-1][tab.send]["interactive"]


def test_stop_is_for_the_windows_own_answer(page: Page, services: Services) -> None:
    script = services.generator
    assert isinstance(script, Script)
    page.playground.end_answer(window("two"))
    assert script.stops == ["two"]


def test_what_was_taken_back_is_no_error_and_stands_in_the_box_again(
    page: Page, services: Services, dataset_id: str
) -> None:
    tab, script = page.playground, services.generator
    assert isinstance(script, Script)
    script.events = [{"event": "withdrawn"}]
    steps = ask(page, finished(services, dataset_id), "Hi?")
    last = {key: value for step in steps for key, value in step.items()}
    assert last[tab.notice] == notice("info", "Taken back.")
    assert last[tab.prompt] == "Hi?"
    assert last[tab.send]["interactive"]


def test_programs_get_whole_answers_only(services: Services, dataset_id: str) -> None:
    script = services.generator
    assert isinstance(script, Script)
    doors, run = Endpoints(services), finished(services, dataset_id)
    whole = {"event": "done", "texts": ["No", "Yes"], "stopped": False}
    script.events = [whole]
    assert doors.compare(run, "Hi?") == {"base": "No", "adapted": "Yes"}
    script.events = [whole | {"stopped": True}]
    with pytest.raises(GenerationError, match="ended before it was whole"):
        doors.compare(run, "Hi?")


def test_programs_may_go_on_with_a_conversation_of_several_sides(
    services: Services, dataset_id: str
) -> None:
    script, doors = services.generator, Endpoints(services)
    assert isinstance(script, Script)
    first, second = (finished(services, dataset_id, name) for name in "AB")
    script.events = [
        {"event": "done", "texts": ["No", "Yes", "Aye"], "stopped": False,
         "divergences": [None, 0.1, 0.2], "cut": [False, True, False], "tokens_per_second": 9.0},
    ]  # fmt: skip
    said = [
        {"role": "user", "content": "Hi?"},
        {"role": "assistant", "content": ["Hello.", "Ahoy!", "Aye!"]},
        {"role": "user", "content": "So?"},
        {"role": "assistant", "content": "So."},
    ]
    options = {"system": "Be brief.", "history": said, "others": [second], "seed": 3}
    answers = {"base": "No", "adapted": "Yes", "others": [{"job_id": second, "answer": "Aye"}]}
    assert doors.compare(first, "And?", options) == answers
    [(_, rows, decoding, _, asker)] = script.asked
    assert (decoding["seed"], asker) == (3, "")
    assert set(decoding) == {"max_new_tokens", "temperature", "seed"}
    for row, own in zip(rows, ("Hello.", "Ahoy!", "Aye!"), strict=True):
        assert [turn["content"] for turn in row["messages"]] == [
            *("Be brief.", "Hi?", own, "So?", "So.", "And?")
        ]
    assert doors.compare(first, "And?", options | {"details": True}) == answers | {
        "divergences": [None, 0.1, 0.2], "cut": [False, True, False], "tokens_per_second": 9.0,
    }  # fmt: skip


def test_programs_see_every_side_sort(services: Services, dataset_id: str, tmp_path: Path) -> None:
    script, doors = services.generator, Endpoints(services)
    assert isinstance(script, Script)
    roles = {"text": "text", "label": "label"}
    moods = labelled(services, tmp_path)
    first, second = (finished(services, moods, name, roles=roles) for name in "AB")
    chances = [[0.5, 0.5], [0.1, 0.9], [0.2, 0.8]]
    script.events = [{"event": "done", "labels": ["no", "yes"], "probabilities": chances}]
    assert doors.compare(first, "Well", {"others": [second]}) == {
        "base": {"no": 0.5, "yes": 0.5},
        "adapted": {"no": 0.1, "yes": 0.9},
        "others": [{"job_id": second, "answer": {"no": 0.2, "yes": 0.8}}],
    }
    with pytest.raises(SettingsError, match="no system text"):
        doors.compare(first, "Well", {"system": "Sort."})
    with pytest.raises(AdapterError, match="cannot be compared with each other"):
        doors.compare(first, "Well", {"others": [finished(services, dataset_id)]})
