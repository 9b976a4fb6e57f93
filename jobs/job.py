"""What a job is: a frozen row of the queue, its states, and what can go wrong with it."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from lora_engine.config import TrainConfig
from lora_engine.errors import SettingsError, WorkbenchError


class JobStatus(StrEnum):
    """Where a job is. Stopping is a flag on a running job, not a status."""

    queued = "queued"
    running = "running"
    succeeded = "succeeded"
    failed = "failed"
    cancelled = "cancelled"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training run. Times are unix seconds; ``None`` means not known or not happened yet."""

    id: int
    name: str
    status: JobStatus
    config: TrainConfig
    phase: str
    """A ``lora_engine.progress.Phase``, or empty before the child's first report."""
    message: str
    """A sentence for the person at the page; may be empty."""
    step: int
    total_steps: int
    loss: float | None
    eval_loss: float | None
    """The latest validation loss; unlike ``Progress.eval_loss`` it stays until the next one."""
    eval_accuracy: float | None
    """Of a classifier, like ``eval_f1``: measured together with ``eval_loss``."""
    eval_f1: float | None
    learning_rate: float | None
    tokens_per_second: float | None
    memory_mb: float | None
    eta_seconds: float | None
    metrics: dict[str, Any] | None
    """What the engine measured at the end, also of a stopped run."""
    error: str | None
    """Why the run failed, in plain words."""
    created_at: float
    queued_at: float
    """When it last joined the queue; the queue is worked off in this order."""
    started_at: float | None
    """When it was last taken from the queue."""
    finished_at: float | None
    cancel_requested: bool
    """True from the click on Stop until the child has ended."""
    attempts: int
    """Starts since a person queued or resumed it, without those that were handed back."""
    worker: str | None
    device: str | None
    heartbeat_at: float | None
    unreadable: str = ""
    """Why ``config`` only stands in for settings that this version cannot read."""

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Make a job from a row of the ``jobs`` table."""
        config, unreadable = _settings(row["config"])
        return cls(
            **row
            | {
                "name": row["name"] or f"Run {row['id']}",
                "status": JobStatus(row["status"]),
                "config": config,
                "unreadable": unreadable,
                "metrics": json.loads(row["metrics"]) if row["metrics"] else None,
                "cancel_requested": bool(row["cancel_requested"]),
            }
        )

    @property
    def is_active(self) -> bool:
        """Waiting or training."""
        return self.status in (JobStatus.queued, JobStatus.running)

    @property
    def can_stop(self) -> bool:
        return self.is_active and not self.cancel_requested

    @property
    def can_resume(self) -> bool:
        return self.status in (JobStatus.failed, JobStatus.cancelled) and not self.unreadable

    @property
    def can_delete(self) -> bool:
        return self.status is not JobStatus.running


@dataclass(frozen=True)
class ProgressPoint:
    """One point of a run's chart; ``at`` is in unix seconds."""

    step: int
    loss: float | None
    eval_loss: float | None
    eval_accuracy: float | None
    """Of a classifier, like ``eval_f1``, which is the mean over the labels."""
    eval_f1: float | None
    learning_rate: float | None
    tokens_per_second: float | None
    at: float


def _settings(text: str) -> tuple[TrainConfig, str]:
    """The settings in a row; or a stand-in for them, and why: one row must not hide the others."""
    try:
        return TrainConfig.parse_json(text), ""
    except SettingsError as error:
        said = f"The settings of this run cannot be read by this version: {error}"
    try:
        values = json.loads(text)
        named = {name: values[name] for name in ("base_model", "dataset")}
        return TrainConfig.parse(named), said
    except (ValueError, RecursionError, TypeError, KeyError, SettingsError):
        return TrainConfig(base_model="unknown", dataset="unknown"), said


class StoreError(WorkbenchError):
    """The data folder or its database cannot be used."""


class JobNotFound(WorkbenchError):  # noqa: N818 (a promised name)
    """There is no job with this id."""

    def __init__(self, job_id: int) -> None:
        super().__init__(f"There is no run {job_id}; it may have been deleted.")


class IllegalTransition(WorkbenchError):  # noqa: N818 (a promised name)
    """A job is not in a state from which this change is allowed."""

    def __init__(self, job: Job, change: str) -> None:
        super().__init__(f"Run {job.id} cannot be {change}, because it is {job.status}.")
