"""Answers of the base and of adapters to the same message, through the generation child."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from app.services import Services
from app.wording import playground as words
from jobs.generation import GenerationError
from jobs.job import Job
from lora_engine.data.nouns import Turn
from lora_engine.errors import AdapterError
from lora_engine.settings import Settings

MOST_ADAPTERS = 4
"""Adapters that can be compared with the base at once."""


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

    sides: tuple[tuple[Turn, ...], ...] = ((), ())
    """The base's first, then one an adapter."""

    @classmethod
    def begin(cls, adapters: int) -> "Conversations":
        """Nothing said yet, to the base and to so many adapters."""
        return cls(((),) * (adapters + 1))

    def ask(self, prompt: str) -> "Conversations":
        """Every side with the person's next turn."""
        turn = Turn(role="user", content=prompt)
        return Conversations(tuple((*side, turn) for side in self.sides))

    def answered(self, texts: Sequence[str]) -> "Conversations":
        """Every side with the model's next turn."""
        turns = [Turn(role="assistant", content=each) for each in texts]
        return Conversations(
            tuple((*side, turn) for side, turn in zip(self.sides, turns, strict=True))
        )


def answer(
    services: Services,
    jobs: Sequence[Job],
    asked: Conversations,
    system: str,
    options: AnswerOptions,
    asker: str = "",
) -> Iterator[dict[str, Any]]:
    """The generation child's events while all sides answer; row 0 is the base.

    ``jobs`` are runs on one base model, as many as ``asked`` has sides beside the base's.
    ``asker`` is who may stop the answers.

    Raises:
        AdapterError: a run has no adapter, or they are for different base models.
        GenerationError: the child cannot answer.
    """
    base = one_base(jobs)
    adapters = [None, *(str(adapter_of(services, job)) for job in jobs)]
    rows: list[dict[str, Any]] = [
        {
            "adapter": adapter,
            "strength": options.strength if adapter else 1.0,
            "messages": _messages(said, system),
        }
        for adapter, said in zip(adapters, asked.sides, strict=True)
    ]
    decoding = options.to_json()
    del decoding["strength"]
    yield from services.generator.answer(base, rows, decoding, divergence=True, asker=asker)


def one_base(jobs: Sequence[Job]) -> str:
    """The base model of all these runs; raises AdapterError where they have several, or one that
    was held in several forms."""
    bases = {job.config.base_model for job in jobs}
    if len(bases) != 1:
        raise AdapterError(words.SEVERAL_BASES)
    if len({job.config.quantization for job in jobs}) > 1:
        raise AdapterError(words.SEVERAL_FORMS)
    return bases.pop()


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
    services: Services,
    jobs: Sequence[Job],
    question: str,
    pair: str,
    strength: float,
    asker: str = "",
) -> Iterator[dict[str, Any]]:
    """The generation child's events while all sides sort a text; row 0 is the base.
    ``asker`` is who may stop that.

    Raises:
        AdapterError: a run has no adapter, or they are for different base models.
        GenerationError: the child cannot answer.
    """
    base, asked = one_base(jobs), {"text": question, "text_pair": pair}
    rows: list[dict[str, Any]] = [
        {"adapter": None, "strength": 1.0, **asked},
        *(
            {"adapter": str(adapter_of(services, job)), "strength": strength, **asked}
            for job in jobs
        ),
    ]
    yield from services.generator.classify(base, rows, asker=asker)


def judge_at_once(
    services: Services, jobs: Sequence[Job], question: str, strength: float
) -> list[dict[str, float]]:
    """Label → probability, by the base and by each run; a tab in the text divides a pair."""
    found: dict[str, Any] = {"labels": [], "probabilities": [[]] * (len(jobs) + 1)}
    for event in judge(services, jobs, question, "", strength):
        if event["event"] == "done":
            found = event
    return [dict(zip(found["labels"], each, strict=True)) for each in found["probabilities"]]


def _messages(turns: Sequence[Turn], system: str) -> list[dict[str, str]]:
    first = [{"role": "system", "content": system}] if system.strip() else []
    return first + [{"role": turn.role, "content": turn.content} for turn in turns]


def answer_at_once(
    services: Services,
    jobs: Sequence[Job],
    asked: Conversations,
    system: str,
    options: AnswerOptions,
) -> dict[str, Any]:
    """The ``done`` event of ``answer``, with the whole ``texts`` of base and runs.

    Raises:
        GenerationError: as ``answer``, or the answers were ended before they were whole.
    """
    for event in answer(services, jobs, asked, system, options):
        if event["event"] == "done" and not event["stopped"]:
            return event
    raise GenerationError(words.NOT_WHOLE)
