"""The handlers of the runs tab, without a browser: what each event changes."""

import gradio as gr

from app.main import Page
from app.services import Services
from lora_engine.config import TrainConfig
from tests.app.handlers.steps import STARTER, finished


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
