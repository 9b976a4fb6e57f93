"""The programs' door: the named endpoints, for ``gradio_client`` and anything that speaks HTTP."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import api

from app import keeping
from app.comparing import AnswerOptions, answer_at_once, judge_at_once, sorts
from app.downloads import answers_name, zip_name
from app.file_answers import FileOptions, answer_file
from app.guard import endpoint
from app.services import Services
from app.starting import start_training
from app.uploads import discard, sendable_copy
from jobs.job import Job
from lora_engine import catalog
from lora_engine.config import LoraConfig, TrainConfig
from lora_engine.counts import count_parameters
from lora_engine.data.nouns import Dataset
from lora_engine.errors import AdapterError, DataError, SettingsError
from lora_engine.table import tensor_table

Json = dict[str, Any]


def dataset_row(dataset: Dataset) -> Json:
    """What /add_dataset and /set_roles give."""
    return {
        "dataset_id": dataset.dataset_id,
        "rows": dataset.rows,
        "columns": list(dataset.columns),
        "roles": dataset.roles,
        "task": dataset.task,
        "problems": [problem.model_dump(mode="json") for problem in dataset.problems],
    }


def job_row(job: Job) -> Json:
    """What /job gives."""
    return {
        "status": job.status.value,
        "step": job.step,
        "total_steps": job.total_steps,
        "loss": job.loss,
        "eval_loss": job.eval_loss,
        "eta_seconds": job.eta_seconds,
        "metrics": job.metrics,
        "error": job.error,
        "config": job.config.to_json(),
    }


def listed_job_row(job: Job) -> Json:
    """What /list_jobs gives for each job."""
    return {
        "job_id": job.id,
        "name": job.name,
        "created_at": job.created_at,
        **job_row(job),
    }


def json_object(value: Json | str | None, what: str) -> Json:
    """Settings given as a JSON object or as its text.

    Raises:
        SettingsError: neither of the two.
    """
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise SettingsError("", f"The {what} are not valid JSON.") from None
    if not value:
        return {}
    if not isinstance(value, dict):
        raise SettingsError("", f"The {what} must be a JSON object of names and values.")
    return value


class Endpoints:
    """One method an endpoint; the names of methods and arguments are promises."""

    def __init__(self, services: Services) -> None:
        self.services = services

    def add_dataset(self, file: str | None, name: str = "") -> Json:
        """Keep an Excel, CSV, TSV, JSON Lines, JSON or Parquet file; roles are guessed."""
        if not file:
            raise DataError("Choose a file: Excel, CSV, TSV, JSON Lines, JSON or Parquet.")
        added = self.services.library.add(Path(file), name=name or "")
        discard(file)
        return dataset_row(added)

    def set_roles(self, dataset_id: str, roles: Json | str) -> Json:
        """Say which column of a kept data set is what: role name → column name."""
        given = json_object(roles, "roles")
        kept = _text(dataset_id, "dataset_id")
        return dataset_row(self.services.library.set_roles(kept, given))

    def list_models(self) -> list[Json]:
        """The starter models and the models used before."""
        return [
            {
                "id": model.id,
                "title": model.title,
                "task": model.task,
                "parameters": model.parameters,
                "ready": model.ready,
            }
            for model in catalog.list_models(self.services.home)
        ]

    def count_parameters(self, base_model: str, settings: Json | str = "") -> Json:
        """Exact counts of what a LoraConfig trains in a model."""
        lora = LoraConfig.parse(json_object(settings, "settings"))
        profile = self.services.profile(_text(base_model, "base_model"))
        return count_parameters(profile, lora).model_dump(mode="json")

    def parameter_table(
        self, base_model: str, settings: Json | str = "", name: str = ""
    ) -> list[Json]:
        """Every tensor whose name has ``name`` in it: name, shape, dtype, trainable.

        With ``settings`` (a LoraConfig) as after injection; without, the model as it is.
        """
        given = json_object(settings, "settings")
        lora = LoraConfig.parse(given) if given else None
        rows = tensor_table(self.services.profile(_text(base_model, "base_model")), lora)
        return [row._asdict() for row in rows if _text(name, "name") in row.name]

    def start_training(self, dataset_id: str, base_model: str, settings: Json | str = "") -> int:
        """Put a run into the queue; ``settings`` is any part of a TrainConfig. Gives the job id.

        Settings saved from another run may name a model and data: the arguments count.
        """
        values = json_object(settings, "settings")
        config = TrainConfig.parse(values | {"base_model": base_model, "dataset": dataset_id})
        return start_training(self.services, config).id

    def job(self, job_id: int) -> Json:
        """How a run stands."""
        return job_row(self.services.store.get(_job_id(job_id)))

    def list_jobs(self) -> list[Json]:
        """All runs, newest first."""
        return [listed_job_row(job) for job in self.services.store.list(limit=0)]

    def cancel_job(self, job_id: int) -> Json:
        """Stop a run; what it learned so far is kept."""
        return job_row(self.services.store.request_cancel(_job_id(job_id)))

    def resume_job(self, job_id: int) -> Json:
        """Let a stopped or failed run go on from its last checkpoint."""
        return job_row(keeping.resume(self.services, _job_id(job_id)))

    def compare(self, job_id: int, prompt: str, options: Json | str = "") -> Json:
        """The base model's and the adapted model's answer to one message.

        For a run that sorts texts: the probability of each label; a tab divides a pair of texts.
        """
        job = self.services.store.get(_job_id(job_id))
        prompt = _text(prompt, "prompt")
        chosen = AnswerOptions.parse(json_object(options, "options"))
        if sorts(job):
            before, after = judge_at_once(self.services, job, prompt, chosen.strength)
            return {"base": before, "adapted": after}
        base, adapted = answer_at_once(self.services, job, prompt, chosen)
        return {"base": base, "adapted": adapted}

    def predict(
        self, job_id: int, file: str | None, dataset_id: str = "", options: Json | str = ""
    ) -> str:
        """The file, or else the kept data set, with the run's answer beside each row.

        ``options``: limit (100; null for all), with_base, format (csv or jsonl), max_new_tokens,
        temperature, seed.
        """
        job = self.services.store.get(_job_id(job_id))
        data = file or _text(dataset_id, "dataset_id")
        if not data:
            raise DataError("Give a file, or the id of a kept data set.")
        chosen = FileOptions.parse(json_object(options, "options"))
        path, _ = answer_file(self.services, job, data, chosen, lambda _: None)
        return sendable_copy(path, answers_name(job, path))

    def download_adapter(self, job_id: int) -> str:
        """The run's adapter as a zip."""
        job = self.services.store.get(_job_id(job_id))
        path = self.services.store.adapter_zip(job.id)
        if path is None:
            raise AdapterError(f"Run {job.id} has no adapter yet.")
        return sendable_copy(path, zip_name(job))


def _job_id(value: object) -> int:
    """A job id from outside, where 7.0 and "7" mean 7."""
    said = str(value).removesuffix(".0")
    if not re.fullmatch(r"-?\d{1,30}", said):
        raise SettingsError("job_id", f"A job id is a whole number, but {value!r} is not.")
    return int(said)


def _text(value: object, name: str) -> str:
    """An argument that must be text."""
    if not isinstance(value, str):
        raise SettingsError(name, f"{name} must be text, but is {value!r}.")
    return value


def add_endpoints(services: Services) -> None:
    """Declare every endpoint inside the current ``gr.Blocks``; none of them is seen on the page."""
    doors = Endpoints(services)
    plain: list[Callable[..., Any]] = [
        *(doors.set_roles, doors.list_models, doors.count_parameters, doors.start_training),
        doors.parameter_table,
        *(doors.job, doors.list_jobs, doors.cancel_job, doors.resume_job, doors.compare),
    ]
    for method in plain:
        api(
            endpoint(method),
            api_name=method.__name__,
            queue=method.__name__ == "compare",
            concurrency_limit=4,
        )
    with gr.Column(visible=False):
        file = gr.File(label="file")
        name = gr.Textbox("", label="name")
        dataset = gr.JSON(label="dataset")
        gr.Button().click(
            endpoint(doors.add_dataset), [file, name], dataset, api_name="add_dataset",
            concurrency_limit=2,
        )  # fmt: skip
        job_id = gr.JSON(label="job_id")  # a number field would round 2.6 to another run
        adapter = gr.File(label="adapter")
        gr.Button().click(
            endpoint(doors.download_adapter), job_id, adapter, api_name="download_adapter"
        )
        options = gr.JSON(label="options")
        answers = gr.File(label="answers")
        dataset_id = gr.Textbox("", label="dataset_id")
        gr.Button().click(
            endpoint(doors.predict), [job_id, file, dataset_id, options], answers,
            api_name="predict", concurrency_limit=4,
        )  # fmt: skip
