"""The handlers of the runs tab, without a browser: what each event changes."""

from functools import partial
from math import nan
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from app.guard import handler
from app.main import Page
from app.runs_tab import About
from app.services import Services
from app.wording.common import NO_NUMBER, UNEXPECTED
from jobs.job import Job
from lora_engine import checkpoint_folder
from lora_engine.config import TrainConfig
from lora_engine.progress import Progress
from tests.app.conftest import make_table
from tests.app.handlers.steps import STARTER, events, finished


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
    asked = runs.ask(job.id)
    assert "Waiting" in asked[runs.confirm_text]
    assert runs.remove(job.id, asked[runs.about])[runs.chosen] == 0
    assert services.store.list() == []


def test_only_the_run_that_the_question_names_is_deleted(
    page: Page, services: Services, dataset_id: str
) -> None:
    runs, store = page.runs, services.store
    named, other = (finished(services, dataset_id, name) for name in ("Named", "Other"))
    shown = runs.restore(named)
    assert runs.confirm not in runs.turn(named, shown[runs.seen], shown[runs.about])
    asked = runs.ask(named)
    assert runs.confirm not in runs.look(named, shown[runs.seen], shown[runs.about])

    # the other is shown by another way than the list, and its drawing is still on its way
    refused = runs.remove(other, asked[runs.about])
    assert "Nothing was deleted" in refused[runs.notice]
    assert not refused[runs.confirm]["visible"]
    turned = runs.turn(other, shown[runs.seen], asked[runs.about])
    assert not turned[runs.confirm]["visible"]
    assert "Other" in turned[runs.header]
    for chosen in (named, other):
        assert "Nothing was deleted" in runs.remove(chosen, turned[runs.about])[runs.notice]
    assert {job.id for job in store.list()} == {named, other}

    assert "“Named” was deleted" in runs.remove(named, asked[runs.about])[runs.notice]
    assert [job.id for job in store.list()] == [other]


def test_what_a_run_had_learned_is_told_where_it_is_taken_out_of_the_queue(
    page: Page, services: Services, dataset_id: str
) -> None:
    runs, store = page.runs, services.store
    job = store.enqueue(TrainConfig(base_model=STARTER, dataset=dataset_id), "Stopped")
    never = runs.ask_stop(job.id)[runs.header]
    assert "nothing was learned" in never

    store.resume(job.id)
    store.claim("w", "cpu")
    store.record(job.id, "w", Progress(phase="training", step=3, total_steps=9, loss=1.0))
    store.fail(job.id, "w", "Too little memory.")
    assert "begins anew" in runs.go_on(job.id)[runs.notice]
    lost = runs.ask_stop(job.id)[runs.header]
    assert "no checkpoint: Resume begins anew" in lost

    checkpoint = store.job_dir(job.id) / "checkpoint"
    checkpoint.mkdir(parents=True)
    (checkpoint / checkpoint_folder.STATE).touch()
    assert "goes on from its last checkpoint" in runs.go_on(job.id)[runs.notice]
    kept = runs.ask_stop(job.id)[runs.header]
    assert "is kept: Resume goes on from there" in kept
    for said in (lost, kept):
        assert "nothing was learned" not in said


def test_what_resume_cannot_put_right_is_told(
    page: Page, services: Services, dataset_id: str, tmp_path: Path
) -> None:
    runs, store = page.runs, services.store
    job = store.enqueue(TrainConfig(base_model=STARTER, dataset=dataset_id), "Diverged")
    store.claim("w", "cpu")
    store.fail(job.id, "w", "The loss is no longer a number: try a lower learning rate.")
    assert "Resume keeps the settings" in runs.poll(job.id, "")[runs.header]
    services.library.remove(dataset_id)
    assert "Resume fails" in runs.poll(job.id, "")[runs.header]
    store.request_cancel(store.resume(job.id).id)
    assert "Resume fails" in runs.poll(job.id, "")[runs.header]

    assert services.library.add(make_table(tmp_path / "again.csv")).dataset_id == dataset_id
    said = runs.poll(job.id, "")[runs.header]
    assert "Resume fails" not in said
    assert "Resume keeps the settings" not in said, "a run that was stopped has no wrong ones"
    done = finished(services, "gone")
    assert "Resume" not in runs.poll(done, "")[runs.header]


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


def test_a_run_that_is_gone_on_with_shows_nothing_of_its_old_adapter(
    page: Page, services: Services, dataset_id: str
) -> None:
    runs, after, store = page.runs, page.runs.after, services.store
    job = store.enqueue(TrainConfig(base_model=STARTER, dataset=dataset_id), "Stopped")
    store.request_cancel(job.id)
    (store.job_dir(job.id) / "merged").mkdir(parents=True)
    stopped = runs.poll(job.id, "")
    assert after.ranks not in stopped, "what was measured stays while nothing changes"
    resumed = runs.go_on(job.id)
    assert not (store.job_dir(job.id) / "merged").exists()
    other_window = runs.poll(job.id, stopped[runs.seen])
    for updates in (resumed, other_window):
        assert {updates[part] for part in (after.ranks, *after.exported.values())} == {""}
        assert updates.keys() <= set(runs.outputs())


def test_what_a_run_needs_is_not_deleted(page: Page, services: Services, dataset_id: str) -> None:
    runs, data = page.runs, page.data
    first = finished(services, dataset_id)
    start = services.store.adapter_zip(first)
    config = TrainConfig(base_model=STARTER, dataset=dataset_id, start_from=str(start))
    job = services.store.enqueue(config, "Next")
    asked = partial(runs.remove, about=About(first, None, asked=True))
    for change in (runs.ask, asked):
        refused = handler(runs.notice)(change)(first)
        assert f"“Next” (run {job.id}) begins with" in refused[runs.notice]
    for change in (data.ask, data.remove):
        refused = handler(data.notice)(change)(dataset_id)
        assert f"“Next” (run {job.id}) needs this data set" in refused[data.notice]
    assert services.store.get(first).id == first
    assert services.library.get(dataset_id)


def test_among_very_many_runs_the_one_at_work_and_the_chosen_one_are_seen(
    page: Page, services: Services, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, store = page.runs, services.store
    chosen = finished(services, dataset_id, "Old and chosen")
    config = TrainConfig(base_model=STARTER, dataset=dataset_id)
    store.enqueue(config, "At work")
    store.claim("w", "cpu")
    for _ in range(3):
        store.request_cancel(store.enqueue(config, "Newer").id)
    monkeypatch.setattr(store, "list", partial(store.list, limit=2))
    drawn = runs.poll(chosen, "")
    assert "At work" in drawn[runs.status]
    assert "At work" in drawn[runs.list]
    assert drawn[runs.list].count("Newer") == 2
    assert "Old and chosen" in drawn[runs.header]
    assert "Old and chosen" in drawn[runs.list]


def test_a_loss_that_was_no_number_does_not_break_the_page(
    page: Page, services: Services, dataset_id: str
) -> None:
    runs, store = page.runs, services.store
    job = store.enqueue(TrainConfig(base_model=STARTER, dataset=dataset_id), "Broken")
    store.claim("w", "cpu")
    measured = {"rows": 3, "loss": nan, "answered_rows": 3, "exact_match": 0.0, "rouge_l": 0.0}
    store.succeed(job.id, "w", {"loss_last": 1.0, "test": measured})
    assert NO_NUMBER in runs.look(job.id, "", About())[runs.result]
    assert NO_NUMBER in runs.restore(job.id)[runs.result]


def test_a_look_that_fails_says_so_until_it_goes_well_again(
    page: Page, services: Services, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, done = page.runs, finished(services, dataset_id)
    seen = runs.look(done, "", About())[runs.seen]
    with monkeypatch.context() as patched:
        patched.setattr(services.store, "log_tail", lambda _: 1 / 0)
        failed = runs.look(done, seen, About())
    assert failed.keys() == {runs.notice, runs.seen}
    assert UNEXPECTED in failed[runs.notice]
    again = runs.look(done, failed[runs.seen], About())
    assert again[runs.notice] == ""
    assert runs.notice not in runs.look(done, again[runs.seen], About())


def test_a_message_goes_with_the_state_that_it_is_about(
    page: Page, services: Services, dataset_id: str
) -> None:
    runs, store = page.runs, services.store
    other = finished(services, dataset_id, "Other")
    job = store.enqueue(TrainConfig(base_model=STARTER, dataset=dataset_id), "Stopped")
    store.request_cancel(job.id)
    said = runs.go_on(job.id)
    seen, about = said[runs.seen], said[runs.about]
    assert "in the queue again" in said[runs.notice]
    for same in (runs.turn, runs.look):
        assert runs.notice not in same(job.id, seen, about)
    late = runs.look(other, seen, about)
    assert runs.notice not in late, "the news had not heard yet what is shown"
    assert runs.turn(other, seen, about)[runs.notice] == ""

    store.claim("w", "cpu")
    began = runs.look(job.id, seen, about)
    assert began[runs.notice] == ""
    assert runs.notice not in runs.look(job.id, seen, began[runs.about])
    assert began.keys() <= set(runs.outputs())


def test_news_during_a_look_are_looked_at_after_it(page: Page) -> None:
    """The page tells of each only once: skipped, the last state of a run would not be shown."""
    [event, other] = events(page, page.runs.news, "click", "look")
    assert other.trigger_mode == "always_last"
    assert event.trigger_mode == "always_last"


def test_what_was_brought_is_told_until_another_run_is_chosen(page: Page) -> None:
    bring = page.runs.bring
    assert bring.follow(7, 7) == {bring.notice: gr.skip()}
    assert bring.follow(8, 7) == {bring.notice: ""}


def test_how_a_brought_adapters_base_was_held_is_chosen(
    page: Page, dataset_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    job = page.services.store.get(finished(page.services, dataset_id))

    def bring_in(*given: Any, **named: Any) -> Job:
        asked.append((given[1:3], named))
        return job

    monkeypatch.setattr("app.bring_panel.bring_in", bring_in)
    (tmp_path / "adapter.zip").touch()
    bring = page.runs.bring
    *_, said = bring.bring(str(tmp_path / "adapter.zip"), "base", "nf4")
    assert asked == [((tmp_path / "adapter.zip", "base"), {"quantization": "nf4"})]
    assert said[bring.run] == job.id
    assert "in the list" in said[bring.notice]
