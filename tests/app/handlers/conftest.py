"""A page without a browser, and a generation child that says what it is told to."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from app.main import Page
from app.services import Services
from jobs.generation import GenerationError, Withdrawn
from tests.app.conftest import make_table


class Script:
    """Stands in for the generation child: gives the events it was told to give."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.asked: list[tuple[Any, ...]] = []
        self.stops: list[str] = []

    def answer(self, *request: Any, **named: Any) -> Iterator[dict[str, Any]]:
        self.asked.append((*request, *named.values()))
        for event in self.events:
            if event["event"] == "withdrawn":
                raise Withdrawn("Taken back.")
            if event["event"] == "error":
                raise GenerationError(event["message"])
            yield event

    def classify(self, *request: Any, **named: Any) -> Iterator[dict[str, Any]]:
        yield from self.answer(*request, **named)

    def stop(self, asker: str) -> None:
        self.stops.append(asker)


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
