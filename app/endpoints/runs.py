"""Endpoints of the queue: starting runs, how they stand, stopping, resuming, deleting, the zip."""

from dataclasses import asdict

from app import keeping
from app.downloads import zip_name
from app.endpoints.arguments import (
    Door,
    Json,
    job_number,
    job_numbers,
    json_object,
    text,
    whole_number,
)
from app.fitting import fit_run
from app.run_comparison import compare_runs
from app.starting import further, start_training
from app.train_form import estimate, pieces
from app.uploads import sendable_copy
from jobs.devices import machine
from jobs.job import Job
from lora_engine.config import TrainConfig
from lora_engine.counts import count_parameters
from lora_engine.errors import AdapterError
from lora_engine.needs import memory_needed

MOST_LINES = 10_000


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


class RunEndpoints(Door):
    """One method an endpoint; the names of methods and arguments are promises."""

    def start_training(self, dataset_id: str, base_model: str, settings: Json | str = "") -> int:
        """Put a run into the queue; ``settings`` is any part of a TrainConfig. Gives the job id.

        Settings saved from another run may name a model and data: the arguments count. The run's
        ``name`` may stand among them; without one it is called as its data set.
        """
        values = dict(json_object(settings, "settings"))
        name = values.pop("name", "")
        config = TrainConfig.parse(values | {"base_model": base_model, "dataset": dataset_id})
        return start_training(self.services, config, text(name, "name")).id

    def estimate_run(self, dataset_id: str, base_model: str, settings: Json | str = "") -> Json:
        """How long such a run would be, and the memory that it needs before any row, in bytes.

        ``machine_memory`` is what this machine has: of its largest graphics card, or of all.
        """
        values = dict(json_object(settings, "settings"))
        values.pop("name", "")
        config = TrainConfig.parse(values | {"base_model": base_model, "dataset": dataset_id})
        dataset = self.services.library.get(config.dataset)
        profile = fit_run(self.services, config).profile
        trained = count_parameters(profile, config.lora).trainable
        here = machine()
        return {
            **asdict(estimate(config, pieces(config, dataset))),
            "memory": memory_needed(profile, trained, config, fast_bf16=here.fast_bf16),
            "machine_memory": here.memory,
        }

    def continue_training(
        self, job_id: int, dataset_id: str = "", settings: Json | str = "", name: str = ""
    ) -> int:
        """Put a run into the queue that goes on from a finished run's adapter. Gives the job id.

        The settings are that run's, but for those in ``settings``; so are the rows, unless
        ``dataset_id`` names others.
        """
        values = json_object(settings, "settings")
        before = further(self.services, self._ended(job_id)).to_json()
        other = text(dataset_id, "dataset_id")  # whose columns have roles of their own
        data = {"dataset": other, "roles": None} if other else {}
        if isinstance(lora := values.get("lora"), dict):
            values = values | {"lora": before["lora"] | lora}
        config = TrainConfig.parse(before | data | values)
        return start_training(self.services, config, text(name, "name")).id

    def job(self, job_id: int) -> Json:
        """How a run stands."""
        return job_row(self._job(job_id))

    def list_jobs(self) -> list[Json]:
        """All runs, newest first."""
        return [listed_job_row(job) for job in self.services.store.list(limit=0)]

    def job_progress(self, job_id: int) -> Json:
        """What a run is doing, and the points of its chart in order."""
        job = self._job(job_id)
        return {
            "phase": job.phase,
            "message": job.message,
            "stopping": job.cancel_requested,
            "tokens_per_second": job.tokens_per_second,
            "memory_mb": job.memory_mb,
            "started_at": job.started_at,
            "finished_at": job.finished_at,
            "points": [asdict(point) for point in self.services.store.progress(job.id)],
        }

    def compare_runs(self, job_ids: list[int]) -> Json:
        """Two to four runs side by side: a value a run, in the order of ``job_ids``.

        ``settings`` are those that differ, ``results`` what at least one has; losses can be
        compared where ``not_alike`` is empty; ``best`` is the id of the run that did best on the
        held-out rows, or null; ``sentence`` says it in words.
        """
        found = compare_runs([self._job(each) for each in job_numbers(job_ids)])
        return {
            "job_ids": [job.id for job in found.jobs],
            "settings": {name: list(values) for name, values in found.settings.items()},
            "results": {name: list(values) for name, values in found.results.items()},
            "not_alike": list(found.not_alike),
            "best": found.best.id if found.best else None,
            "sentence": found.sentence,
        }

    def job_log(self, job_id: int, lines: int = 200) -> str:
        """The last lines of a run's log; empty before it was started."""
        job = self._job(job_id)
        return self.services.store.log_tail(job.id, whole_number(lines, "lines", 1, MOST_LINES))

    def cancel_job(self, job_id: int) -> Json:
        """Stop a run; what it learned so far is kept."""
        return job_row(self.services.store.request_cancel(job_number(job_id)))

    def resume_job(self, job_id: int) -> Json:
        """Let a stopped or failed run go on from its last checkpoint."""
        return job_row(keeping.resume(self.services, job_number(job_id)))

    def delete_job(self, job_id: int) -> Json:
        """Delete a run that is not at work, its log and its adapter; gives what it was."""
        job = self._job(job_id)
        keeping.delete_run(self.services, job.id)
        return listed_job_row(job)

    def download_adapter(self, job_id: int) -> str:
        """The run's adapter as a zip."""
        job = self._job(job_id)
        path = self.services.store.adapter_zip(job.id)
        if path is None:
            raise AdapterError(f"Run {job.id} has no adapter yet.")
        return sendable_copy(path, zip_name(job))
