"""The handlers of the comparison of runs, without a browser."""

import gradio as gr

from app.guard import handler
from app.main import Page
from app.services import Services
from app.wording import compared as words
from lora_engine.config import TrainConfig
from lora_engine.progress import Progress
from tests.app.handlers.steps import STARTER, events, finished


def test_a_run_is_compared_with_others(page: Page, services: Services, dataset_id: str) -> None:
    panel = page.runs.compare
    first = finished(services, dataset_id, "First")
    alone = panel.show(first)
    assert alone[panel.panel]["visible"]
    assert alone[panel.none]["visible"]
    assert not alone[panel.others]["visible"]
    second = finished(services, dataset_id, "Second", lora={"r": 32})
    asked = {"base_model": STARTER, "dataset": dataset_id}
    services.store.enqueue(TrainConfig.parse(asked), "Waiting")
    offered = panel.offer(first, [])
    assert offered[panel.others]["choices"] == [(f"Second (#{second}, {STARTER})", second)]
    assert "value" not in offered[panel.others], "a choice may be made meanwhile"
    shown = panel.draw(first, [second])
    assert "Rank r" in shown[panel.compared]
    assert "numbers.csv" not in shown[panel.compared], "which is the same"
    assert words.NOT_MEASURED in shown[panel.compared]
    assert panel.draw(first, []) == {panel.compared: "", panel.seen: ""}
    assert panel.show(first)[panel.others]["value"] == [], "another run has another comparison"
    assert not panel.show(0)[panel.panel]["visible"]


def test_what_is_compared_follows_its_runs(page: Page, services: Services, dataset_id: str) -> None:
    panel, store = page.runs.compare, services.store
    first, third = (finished(services, dataset_id, name) for name in ("First", "Third"))
    asked = {"base_model": STARTER, "dataset": dataset_id}
    second = store.enqueue(TrainConfig.parse(asked), "Second").id
    store.claim("w", "cpu")
    store.record(second, "w", Progress(phase="training", step=1, total_steps=9, loss=2.0))
    shown = panel.draw(first, [second])
    assert words.STILL in shown[panel.compared]
    seen = shown[panel.seen]
    assert panel.look(first, [second], seen) == {panel.seen: gr.skip()}
    assert panel.look(first, [], "") == {panel.seen: gr.skip()}
    report = Progress(phase="training", step=2, total_steps=9, loss=1.9, eval_loss=1.75)
    store.record(second, "w", report)
    again = panel.look(first, [second], seen)
    assert "1.75" in again[panel.compared]
    assert again[panel.seen] != seen
    store.delete(third)
    left = panel.look(first, [second, third], again[panel.seen])
    assert left[panel.others]["value"] == [second], "a deleted run is let go of"
    assert "Second" in left[panel.compared]
    assert "Third" not in left[panel.compared]
    store.delete(first)  # another run is shown next, and this one has nothing to say till then
    assert panel.look(first, [second], "") == {panel.seen: gr.skip()}


def test_too_many_are_one_sentence(page: Page, services: Services, dataset_id: str) -> None:
    panel = page.runs.compare
    runs = [finished(services, dataset_id, str(n)) for n in range(5)]
    said = handler(panel.notice)(panel.draw)(runs[0], runs[1:])
    assert "two to 4 different runs" in said[panel.notice]


def test_a_press_of_the_list_reaches_the_comparison(page: Page) -> None:
    panel = page.runs.compare
    for control, event in (
        (panel.run, "change"), (panel.fold, "expand"), (panel.others, "input"),
        (page.runs.news, "click"),
    ):  # fmt: skip
        assert any(panel.compared in each.outputs for each in events(page, control, event))
