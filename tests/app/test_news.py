"""The page asks whether something is new, and draws only then."""

import urllib.request
from pathlib import Path

from app.news import news
from app.services import Services
from lora_engine.config import TrainConfig
from lora_engine.progress import Progress


def test_the_mark_changes_with_all_that_is_seen_of_a_run(services: Services) -> None:
    store, seen = services.store, []

    def look() -> None:
        mark = news(store)
        assert news(store) == mark, "nothing has changed meanwhile"
        assert mark not in seen
        seen.append(mark)

    look()
    job = store.enqueue(TrainConfig(base_model="m", dataset="d"))
    look()
    store.claim("w", "cpu")
    look()
    store.record(job.id, "w", Progress(phase="training", step=1, total_steps=2, loss=2.0))
    look()
    path: Path = store.log_path(job.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a line\n")
    look()
    store.request_cancel(job.id)
    look()


def test_the_page_tells_its_news_and_nothing_keeps_them(address: str) -> None:
    with urllib.request.urlopen(f"{address}/news") as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.read().decode().lstrip("-").isdigit()
