"""Endpoints for what is done with finished adapters; each waits for a child of the engine."""

from pathlib import Path
from typing import Annotated

from gradio import FileData
from pydantic import Field

from app import bringing, making
from app.endpoints.arguments import Door, Json, job_numbers, text, whole_number
from app.uploads import discard, sendable_copy
from app.wording import after as words
from jobs.job import Job
from lora_engine.config import MOST_RANK
from lora_engine.errors import AdapterError, SettingsError
from lora_engine.paths import existing
from lora_engine.settings import Settings


class Sum(Settings):
    """How adapters are added up."""

    weights: tuple[float, ...]
    method: str = "svd"
    r: Annotated[int, Field(ge=1, le=MOST_RANK)] | None = None


class AfterEndpoints(Door):
    """One method an endpoint; the names of methods and arguments are promises."""

    def rank_report(self, job_id: int) -> Json:
        """How much of its rank a run's adapter uses, in all and module by module."""
        return making.rank_report(self.services, self._ended(job_id), _silent)

    def shrink_adapter(self, job_id: int, r: int) -> Json:
        """Cut a run's adapter to rank ``r``, as a new run; what that costs is measured."""
        job, rank = self._ended(job_id), whole_number(r, "r", 1, MOST_RANK)
        return _made(*making.shrink(self.services, job, rank, _silent))

    def combine_adapters(
        self,
        job_ids: list[int],
        weights: list[float],
        method: str = "svd",
        r: int | None = None,
    ) -> Json:
        """Add adapters of one base model up by weight, as a new run.

        ``method`` is svd (the best of rank ``r``, or of the largest rank), cat (exact: ranks add
        up) or linear (rough).
        """
        how = Sum.parse({"weights": weights, "method": method, "r": r})
        jobs = [self._ended(number) for number in job_numbers(job_ids)]
        form = {"method": how.method, "r": how.r}
        return _made(*making.combine(self.services, jobs, how.weights, form, _silent))

    def export_adapter(self, job_id: int, format: str) -> Json:
        """A run's adapter for other tools.

        ``format`` is gguf (``file``: a zip for llama.cpp and Ollama) or merged (``folder``: where
        on the server the whole model lies).
        """
        job = self._ended(job_id)
        path, found = making.export(self.services, job, text(format, "format"), _silent)
        made: Json = {"format": format, "sentence": found["sentence"], "file": None, "folder": None}
        if path.is_dir():
            return made | {"folder": str(path)}
        copy = sendable_copy(path, f"gguf-{job.id}.zip")
        return made | {"file": FileData(path=copy, orig_name=Path(copy).name).model_dump()}

    def bring_adapter(
        self,
        file: str | None = None,
        path: str = "",
        base_model: str = "",
        name: str = "",
        quantization: str = "",
    ) -> Json:
        """Check an adapter made elsewhere against its base model and keep it with the runs.

        It is a zip (``file``), or a folder or zip on the server (``path``). Without
        ``base_model`` it is for the one that it names. ``quantization`` is how its base was held in
        training (none, nf4 or int8); empty means what the adapter says.
        """
        said, base, called = text(path, "path"), text(base_model, "base_model"), text(name, "name")
        held = text(quantization, "quantization").strip()
        if bool(file) == bool(said.strip()):
            raise SettingsError("path", words.BRING_ONE if file else words.BRING_NOTHING)
        where = existing(file or said.strip())
        if where is None:
            raise AdapterError(words.BRING_NONE.format(path=said))
        try:
            job = bringing.bring_in(self.services, where, base, _silent, called.strip(), held)
        finally:
            if file:
                discard(file)
        return _made(job, {"sentence": (job.metrics or {})["sentence"]})


def _made(job: Job, found: Json) -> Json:
    """The new run, and what is known of it."""
    return {"job_id": job.id, "name": job.name, **found}


def _silent(_sentence: str) -> None:
    """Nobody wants to hear of progress."""
