"""Base and adapted answers to the same message, through the generation child."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from app.services import Services
from app.wording import playground as words
from jobs.job import Job
from lora_engine.config import Settings
from lora_engine.data.nouns import Turn
from lora_engine.errors import AdapterError


class AnswerOptions(Settings):
    """How answers are written; the same for base and adapted, but for the strength."""

    max_new_tokens: Annotated[int, Field(ge=1, le=8192)] = 128
    temperature: Annotated[float, Field(ge=0, le=5)] = 0
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    strength: Annotated[float, Field(ge=0, le=1.5)] = 1.0
    """Factor on what the adapter adds; 0 is the base model, 1 is as trained."""


@dataclass(frozen=True)
class Conversations:
    """What was said on each side so far; the sides share the person's turns only."""

    base: tuple[Turn, ...] = ()
    adapted: tuple[Turn, ...] = ()

    def ask(self, prompt: str) -> "Conversations":
        """Both sides with the person's next turn."""
        turn = Turn(role="user", content=prompt)
        return Conversations((*self.base, turn), (*self.adapted, turn))

    def answered(self, texts: Sequence[str]) -> "Conversations":
        """Both sides with the model's next turn."""
        base, adapted = (Turn(role="assistant", content=each) for each in texts)
        return Conversations((*self.base, base), (*self.adapted, adapted))


def answer(
    services: Services, job: Job, asked: Conversations, system: str, options: AnswerOptions
) -> Iterator[dict[str, Any]]:
    """The generation child's events while both sides answer; row 0 is the base.

    Raises:
        AdapterError: the run has no adapter.
        GenerationError: the child cannot answer.
    """
    adapter = adapter_of(services, job)
    rows: list[dict[str, Any]] = [
        {"adapter": None, "strength": 1.0, "messages": _messages(asked.base, system)},
        {
            "adapter": str(adapter),
            "strength": options.strength,
            "messages": _messages(asked.adapted, system),
        },
    ]
    decoding = options.to_json()
    del decoding["strength"]
    yield from services.generator.answer(job.config.base_model, rows, decoding, divergence=True)


def sorts(job: Job) -> bool:
    """Whether a run's model gives labels and cannot write."""
    return "label" in (job.config.roles or {}) and job.config.task in ("auto", "classification")


def adapter_of(services: Services, job: Job) -> Path:
    """The zip of a run's adapter; raises AdapterError where it has none."""
    adapter = services.store.adapter_zip(job.id)
    if adapter is None:
        raise AdapterError(words.NO_ADAPTER.format(job=job.id))
    return adapter


def judge(
    services: Services, job: Job, question: str, pair: str, strength: float
) -> Iterator[dict[str, Any]]:
    """The generation child's events while both sides sort a text; row 0 is the base.

    Raises:
        AdapterError: the run has no adapter.
        GenerationError: the child cannot answer.
    """
    asked = {"text": question, "text_pair": pair}
    rows: list[dict[str, Any]] = [
        {"adapter": None, "strength": 1.0, **asked},
        {"adapter": str(adapter_of(services, job)), "strength": strength, **asked},
    ]
    yield from services.generator.classify(job.config.base_model, rows)


def judge_at_once(
    services: Services, job: Job, question: str, strength: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Label → probability by base and adapted model; a tab in the text divides a pair."""
    found: dict[str, Any] = {"labels": [], "probabilities": [[], []]}
    for event in judge(services, job, question, "", strength):
        if event["event"] == "done":
            found = event
    base, adapted = (dict(zip(found["labels"], p, strict=True)) for p in found["probabilities"])
    return base, adapted


def _messages(turns: Sequence[Turn], system: str) -> list[dict[str, str]]:
    first = [{"role": "system", "content": system}] if system.strip() else []
    return first + [{"role": turn.role, "content": turn.content} for turn in turns]


def answer_at_once(
    services: Services, job: Job, prompt: str, options: AnswerOptions
) -> tuple[str, str]:
    """The base's and the adapted model's whole answers to one message."""
    texts = ["", ""]
    for event in answer(services, job, Conversations().ask(prompt), "", options):
        if event["event"] == "done":
            texts = event["texts"]
    return texts[0], texts[1]
