"""What a person does at the tabs, as the handlers see it."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr

from app.comparing import Conversations
from app.fields import TARGETS
from app.main import Page
from app.services import Services
from lora_engine.config import TrainConfig
from lora_engine.progress import Progress

STARTER = "smollm2-135m-instruct"


def click(**data: Any) -> gr.EventData:
    return gr.EventData(None, data)


def all_events(page: Page) -> list[Any]:
    """Every event of the page and of its endpoints."""
    blocks: Any = page.tabs
    while blocks.parent is not None:
        blocks = blocks.parent
    return list(blocks.fns.values())


def events(page: Page, control: Any, event: str, name: str = "") -> list[Any]:
    """The page's events of one kind at a control, and what comes after them; those of one handler
    where it is named."""
    at = (control._id, event)
    known = all_events(page)
    first = [each for each in known if at in each.targets]
    then = [each for each in known if each.trigger_after in {one._id for one in first}]
    return [each for each in (*first, *then) if name in (each.name or "")]


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


def labelled(services: Services, tmp_path: Path) -> str:
    """A small set of texts with three uneven labels."""
    path = tmp_path / "moods.csv"
    moods = ["glad"] * 9 + ["sad"] * 3 + ["cross"] * 2
    lines = [f"This is text number {i} here,{mood}" for i, mood in enumerate(moods)]
    path.write_text("\n".join(["text,label", *lines]) + "\n")
    return services.library.add(path).dataset_id


def asking(
    page: Page, run: int | None, prompt: str, *, others: tuple[int, ...] = (), seed: int = 0
) -> Iterator[dict[Any, Any]]:
    """Ask on the playground of the window “one”; gives an update at a time."""
    tab = page.playground
    decoding = 0, 64, 1, seed, ""
    said = Conversations()
    steps = tab.guarded_ask(window("one"), run, list(others), prompt, None, said, *decoding)
    assert isinstance(steps, Iterator)
    return steps


def window(session: str) -> Any:
    """The request of a page that is open."""
    return SimpleNamespace(session_hash=session)
