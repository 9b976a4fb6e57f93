"""Endpoints that answer: base and adapters one message, or an adapter a whole file."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, model_validator

from app.comparing import (
    MOST_ADAPTERS,
    AnswerOptions,
    Conversations,
    answer_at_once,
    judge_at_once,
    sorts,
)
from app.downloads import answers_name
from app.endpoints.arguments import Door, Json, json_object, text
from app.file_answers import FileOptions, answer_file
from app.uploads import sendable_copy
from app.wording import playground as words
from jobs.job import Job
from lora_engine.data.nouns import Turn
from lora_engine.errors import AdapterError, DataError, SettingsError
from lora_engine.settings import Settings


class EarlierTurn(Settings):
    """What was said before."""

    role: Literal["user", "assistant"]
    content: Annotated[
        tuple[str, ...], BeforeValidator(lambda said: (said,) if isinstance(said, str) else said)
    ]
    """The same for all sides, or one text a side: the base's first, then one an adapter."""


class CompareOptions(AnswerOptions):
    """How answers are written, what was said before, and who else answers."""

    system: str = ""
    history: tuple[EarlierTurn, ...] = ()
    others: tuple[Any, ...] = ()
    """Ids of further runs on the same base model."""
    details: bool = False
    """Whether to say also how far the answers are from the base's and whether they were cut."""

    @model_validator(mode="after")
    def _check_turns(self) -> Self:
        roles = [turn.role for turn in self.history]
        if roles != ["user", "assistant"] * (len(roles) // 2):
            raise ValueError(
                "history must be pairs of turns: each of the user with the assistant's answer"
            )
        return self

    def decoding(self) -> AnswerOptions:
        """What of it is about the writing."""
        return AnswerOptions(**{name: getattr(self, name) for name in AnswerOptions.model_fields})


class AnswerEndpoints(Door):
    """One method an endpoint; the names of methods and arguments are promises."""

    def compare(self, job_id: int, prompt: str, options: Json | str = "") -> Json:
        """The base model's and the adapted model's answer to one message.

        ``options`` may have max_new_tokens, temperature, seed and strength; system (a text);
        history (the turns before, as role and content, where the content of an answer may be a
        list: the base's and one an adapter); others (up to three more job ids, whose answers
        stand under the same name) and details (true also gives divergences, the mean KL from the
        base, and cut, a value a side with the base first, and tokens_per_second).

        For a run that sorts texts: the probability of each label; a tab divides a pair of texts.
        """
        first = self._job(job_id)
        prompt = text(prompt, "prompt")
        chosen = CompareOptions.parse(json_object(options, "options"))
        jobs = [first, *self._others(chosen)]
        if len({sorts(job) for job in jobs}) > 1:
            raise AdapterError(words.SEVERAL_KINDS)
        if sorts(first):
            if chosen.system or chosen.history:
                raise SettingsError("system", words.SORTS_ONLY)
            return _sides(jobs, judge_at_once(self.services, jobs, prompt, chosen.strength))
        asked = _before(chosen.history, len(jobs) + 1).ask(prompt)
        done = answer_at_once(self.services, jobs, asked, chosen.system, chosen.decoding())
        names = ("divergences", "cut", "tokens_per_second") if chosen.details else ()
        return _sides(jobs, done["texts"]) | {name: done[name] for name in names}

    def predict(
        self, job_id: int, file: str | None, dataset_id: str = "", options: Json | str = ""
    ) -> str:
        """The file, or else the kept data set, with the run's answer beside each row.

        ``options``: limit (100; null for all), with_base, format (csv or jsonl), max_new_tokens,
        temperature, seed.
        """
        job = self._job(job_id)
        kept = text(dataset_id, "dataset_id")
        if not file and not kept:
            raise DataError("Give a file, or the id of a kept data set.")
        chosen = FileOptions.parse(json_object(options, "options"))
        # a path of the server is no data set
        data = file or self.services.library.get(kept).dataset_id
        path, _ = answer_file(self.services, job, data, chosen, lambda _: None)
        return sendable_copy(path, answers_name(job, path))

    def _others(self, chosen: CompareOptions) -> list[Job]:
        if len(chosen.others) >= MOST_ADAPTERS:
            raise SettingsError("others", words.TOO_MANY.format(most=MOST_ADAPTERS - 1))
        return [self._job(each) for each in chosen.others]


def _before(history: tuple[EarlierTurn, ...], count: int) -> Conversations:
    """The earlier turns of ``count`` sides; raises SettingsError where a side has none."""
    if any(len(turn.content) not in (1, count) for turn in history):
        raise SettingsError("history", words.HISTORY_SIDES.format(count=count))
    return Conversations(
        tuple(
            tuple(Turn(role=turn.role, content=turn.content[side % len(turn.content)])
                  for turn in history)
            for side in range(count)
        )
    )  # fmt: skip


def _sides(jobs: list[Job], said: list[Any]) -> Json:
    """The base's and the run's; where further runs were asked, theirs as well."""
    base, adapted, *more = said
    others = [
        {"job_id": job.id, "answer": answer} for job, answer in zip(jobs[1:], more, strict=True)
    ]
    return {"base": base, "adapted": adapted, **({"others": others} if others else {})}
