"""The queue in SQLite; ``chart.py`` beside it has the charts.

A change of state is one ``UPDATE … WHERE id = ? AND status IN (…)``. Where it changes no row it
raises ``IllegalTransition``, or ``JobNotFound``. What only a job's own worker may do names that
worker too, so one that was taken for dead can change nothing any more.
"""

import json
import shutil
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from jobs import chart, logs, migrations
from jobs.connections import Connections
from jobs.job import (
    IllegalTransition,
    Job,
    JobNotFound,
    JobStatus,
    ProgressPoint,
    StoreError,
)
from lora_engine.config import TrainConfig
from lora_engine.finite import finite
from lora_engine.progress import Progress

__all__ = [
    "IllegalTransition",
    "Job",
    "JobNotFound",
    "JobStatus",
    "ProgressPoint",
    "Store",
    "StoreError",
]

MAX_ATTEMPTS = 3
"""Dead workers after which a job fails."""

_WORKER_DIED = (
    f"The worker died {MAX_ATTEMPTS} times while it trained this run, often a sign of too little "
    "memory: choose cheaper settings, or press Resume to go on from the last checkpoint."
)
_STOPPED_WITH_IT = (
    "Stopped together with the worker; Resume goes on from the last checkpoint, or begins anew "
    "where there is none."
)
_HAND_BACK = """
    UPDATE jobs SET
        message = CASE WHEN cancel_requested THEN :stopped ELSE '' END,
        status = CASE WHEN cancel_requested THEN 'cancelled'
            WHEN attempts - :handed_back >= :max_attempts THEN 'failed' ELSE 'queued' END,
        error = CASE WHEN NOT cancel_requested AND attempts - :handed_back >= :max_attempts
            THEN :reason END,
        finished_at = CASE WHEN cancel_requested OR attempts - :handed_back >= :max_attempts
            THEN :now END,
        attempts = attempts - :handed_back, cancel_requested = 0, phase = '',
        eta_seconds = NULL, worker = NULL, device = NULL, heartbeat_at = NULL
    WHERE status = 'running'
"""

Jobs = list[Job]
Points = list[ProgressPoint]
Rows = list[dict[str, Any]]


class Store:
    """The jobs of one data folder; usable from any thread and from several processes.

    ``now`` gives unix seconds. Raises ``StoreError`` where the folder cannot be used.
    """

    def __init__(self, home: Path, now: Callable[[], float] = time.time) -> None:
        self.home = home
        self._now = now
        path = home / "workbench.sqlite"
        migrations.upgrade(path)
        self._connections = Connections(path)

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()

    def get(self, job_id: int) -> Job:
        """One job; raises ``JobNotFound``."""
        _check_id(job_id)
        jobs = self._jobs("SELECT * FROM jobs WHERE id = :id", id=job_id)
        if not jobs:
            raise JobNotFound(job_id)
        return jobs[0]

    def list(self, limit: int = 200) -> Jobs:
        """The jobs, newest first; 0 means all of them."""
        return self._jobs("SELECT * FROM jobs ORDER BY id DESC LIMIT :limit", limit=limit or -1)

    def active(self) -> Jobs:
        """The running jobs and then the waiting ones, in the order they will be taken."""
        return self._jobs("""
            SELECT * FROM jobs WHERE status IN ('queued', 'running')
            ORDER BY status = 'queued', queued_at, id
        """)

    def any_running(self) -> bool:
        """Whether a job is being trained on this machine."""
        return bool(self._rows("SELECT 1 FROM jobs WHERE status = 'running' LIMIT 1"))

    def progress(self, job_id: int) -> Points:
        """The chart's points, in order; at most ``chart.MAX_POINTS``."""
        return chart.points(self._database, job_id)

    def job_dir(self, job_id: int) -> Path:
        """The job's folder; it exists once the job was started."""
        return self.home / "jobs" / str(job_id)

    def log_path(self, job_id: int) -> Path:
        return self.job_dir(job_id) / "log.txt"

    def log_tail(self, job_id: int, lines: int = 200) -> str:
        """The last lines of the job's log; empty before it was started."""
        return logs.tail(self.log_path(job_id), lines)

    def adapter_zip(self, job_id: int) -> Path | None:
        """What the job learned, as a zip; ``None`` where there is none (yet)."""
        path = self.job_dir(job_id) / "adapter.zip"
        return path if path.is_file() else None

    def enqueue(self, config: TrainConfig, name: str = "") -> Job:
        """Put a new job at the end of the queue."""
        return self._jobs(
            """
            INSERT INTO jobs (name, status, config, created_at, queued_at)
            VALUES (:name, 'queued', :config, :now, :now) RETURNING *
            """,
            name=name.strip(),
            config=json.dumps(config.to_json()),
            now=self._now(),
        )[0]

    def add_made(
        self, config: TrainConfig, name: str, adapter: Path, metrics: dict[str, Any]
    ) -> Job:
        """Keep an adapter that no run of the queue has made, as a run that has ended well.

        ``adapter`` is a zip that is moved to its place. ``metrics["origin"]`` says where it comes
        from.
        """
        with self._database.atomic():
            job = self._jobs(
                """
                INSERT INTO jobs (name, status, config, created_at, queued_at, started_at,
                    finished_at, metrics)
                VALUES (:name, 'succeeded', :config, :now, :now, :now, :now, :metrics) RETURNING *
                """,
                name=name.strip(),
                config=json.dumps(config.to_json()),
                metrics=json.dumps(finite(metrics)),
                now=self._now(),
            )[0]
            self.job_dir(job.id).mkdir(parents=True, exist_ok=True)
            shutil.move(adapter, self.job_dir(job.id) / "adapter.zip")
        return job

    def request_cancel(self, job_id: int) -> Job:
        """Stop a job: a waiting one at once, a running one as soon as its child has seen the flag.

        Asking twice is no error. Raises ``IllegalTransition`` where the job has ended.
        """
        return self._change(
            """
            UPDATE jobs SET
                status = CASE status WHEN 'queued' THEN 'cancelled' ELSE status END,
                finished_at = CASE status WHEN 'queued' THEN :now END,
                cancel_requested = (status = 'running')
            WHERE id = :id AND status IN ('queued', 'running') RETURNING *
            """,
            job_id,
            "stopped",
            now=self._now(),
        )

    def resume(self, job_id: int) -> Job:
        """Put a failed or stopped job at the end of the queue; it goes on from its checkpoint."""
        return self._change(
            """
            UPDATE jobs SET status = 'queued', phase = '', message = '', error = NULL,
                queued_at = :now, started_at = NULL, finished_at = NULL, attempts = 0,
                worker = NULL, device = NULL, heartbeat_at = NULL
            WHERE id = :id AND status IN ('failed', 'cancelled') RETURNING *
            """,
            job_id,
            "resumed",
            now=self._now(),
        )

    def delete(self, job_id: int) -> None:
        """Remove a job that is not running, its chart and its folder."""
        with self._database.atomic():
            self._change(
                "DELETE FROM jobs WHERE id = :id AND status <> 'running' RETURNING *",
                job_id,
                "deleted",
            )
            chart.delete(self._database, job_id)
        shutil.rmtree(self.job_dir(job_id), ignore_errors=True)

    def claim(self, worker: str, device: str) -> Job | None:
        """Take the next job for a device; ``None`` if none waits or the device is at work.

        One whose settings cannot be read fails at once, and the next is taken.
        """
        while (job := self._take(worker, device)) is not None and job.unreadable:
            self.fail(job.id, worker, job.unreadable)
        return job

    def _take(self, worker: str, device: str) -> Job | None:
        jobs = self._jobs(
            """
            UPDATE jobs SET status = 'running', worker = :worker, device = :device,
                attempts = attempts + 1, started_at = :now, heartbeat_at = :now,
                phase = '', message = '', eta_seconds = NULL
            WHERE id = (SELECT id FROM jobs WHERE status = 'queued' ORDER BY queued_at, id LIMIT 1)
                AND NOT EXISTS (
                    SELECT 1 FROM jobs WHERE status = 'running' AND device = :device
                )
            RETURNING *
            """,
            worker=worker,
            device=device,
            now=self._now(),
        )
        return jobs[0] if jobs else None

    def beat(self, job_id: int, worker: str) -> bool:
        """Say that the worker lives; False when the job is not this worker's any more."""
        return bool(
            self._rows(
                """
                UPDATE jobs SET heartbeat_at = :now
                WHERE id = :id AND status = 'running' AND worker = :worker RETURNING id
                """,
                id=job_id,
                worker=worker,
                now=self._now(),
            )
        )

    def stop_requested(self, job_id: int, worker: str) -> bool:
        """Whether the worker's job shall stop; ``IllegalTransition`` if it is not its job."""
        return self._change(
            "SELECT * FROM jobs WHERE id = :id AND status = 'running' AND worker = :worker",
            job_id,
            "continued by this worker",
            worker=worker,
        ).cancel_requested

    def record(self, job_id: int, worker: str, progress: Progress) -> None:
        """Keep a report of the running job; what it does not know stays as it was."""
        progress = progress.model_copy(update=finite(progress.model_dump()))
        with self._database.atomic():
            self._change(
                """
                UPDATE jobs SET phase = :phase, message = :message, eta_seconds = :eta_seconds,
                    step = CASE WHEN :total_steps > 0 THEN :step ELSE step END,
                    total_steps = CASE WHEN :total_steps > 0 THEN :total_steps ELSE total_steps END,
                    loss = COALESCE(:loss, loss),
                    eval_loss = COALESCE(:eval_loss, eval_loss),
                    eval_accuracy = COALESCE(:eval_accuracy, eval_accuracy),
                    eval_f1 = COALESCE(:eval_f1, eval_f1),
                    learning_rate = COALESCE(:learning_rate, learning_rate),
                    tokens_per_second = COALESCE(:tokens_per_second, tokens_per_second),
                    memory_mb = COALESCE(:memory_mb, memory_mb)
                WHERE id = :id AND status = 'running' AND worker = :worker RETURNING *
                """,
                job_id,
                "continued by this worker",
                worker=worker,
                **progress.model_dump(),
            )
            if progress.loss is not None or progress.eval_loss is not None:
                chart.add_point(self._database, job_id, progress, self._now())

    def succeed(self, job_id: int, worker: str, metrics: dict[str, Any]) -> Job:
        """End the running job well."""
        return self._finish(job_id, worker, JobStatus.succeeded, metrics=metrics)

    def fail(self, job_id: int, worker: str, error: str) -> Job:
        """End the running job with the reason in plain words."""
        return self._finish(job_id, worker, JobStatus.failed, error=error)

    def cancel_done(
        self, job_id: int, worker: str, message: str = "", metrics: dict[str, Any] | None = None
    ) -> Job:
        """End the running job as stopped."""
        return self._finish(job_id, worker, JobStatus.cancelled, message=message, metrics=metrics)

    def release(self, job_id: int, worker: str) -> Job:
        """Hand the running job back to its place in the queue: its worker is being closed.

        One that was to be stopped is cancelled instead.
        """
        return self._change(
            _HAND_BACK + "AND id = :id AND worker = :worker RETURNING *",
            job_id,
            "handed back by this worker",
            worker=worker,
            handed_back=1,
            **self._hand_back_values(),
        )

    def requeue_stalled(
        self, stalled_after_seconds: float, except_workers: Collection[str] = ()
    ) -> Jobs:
        """Put the jobs of dead workers back in the queue; gives the jobs that were changed.

        One that was to be stopped is cancelled; one whose worker has died ``MAX_ATTEMPTS`` times
        fails. ``except_workers`` are those that the one who asks knows to live.
        """
        return self._jobs(
            _HAND_BACK
            + """AND heartbeat_at < :stalled_since
                AND worker NOT IN (SELECT value FROM json_each(:except_workers)) RETURNING *""",
            stalled_since=self._now() - stalled_after_seconds,
            except_workers=json.dumps(list(except_workers)),
            handed_back=0,
            **self._hand_back_values(),
        )

    def _hand_back_values(self) -> dict[str, Any]:
        said = {"reason": _WORKER_DIED, "stopped": _STOPPED_WITH_IT}
        return {"now": self._now(), "max_attempts": MAX_ATTEMPTS, **said}

    @property
    def _database(self) -> Database:
        return self._connections.get()

    def _rows(self, sql: str, **values: Any) -> Rows:
        return [*self._database.query(sql, values)]

    def _jobs(self, sql: str, **values: Any) -> Jobs:
        return [Job.from_row(row) for row in self._rows(sql, **values)]

    def _change(self, sql: str, job_id: int, change: str, **values: Any) -> Job:
        """Run a statement that gives the row it was allowed to touch, or say why it was not."""
        _check_id(job_id)
        jobs = self._jobs(sql, id=job_id, **values)
        if not jobs:
            raise IllegalTransition(self.get(job_id), change)
        return jobs[0]

    def _finish(
        self,
        job_id: int,
        worker: str,
        status: JobStatus,
        *,
        message: str = "",
        error: str | None = None,
        metrics: dict[str, Any] | None = None,
    ) -> Job:
        return self._change(
            """
            UPDATE jobs SET status = :status, message = :message, error = :error, phase = '',
                metrics = COALESCE(:metrics, metrics), eta_seconds = NULL, finished_at = :now,
                cancel_requested = 0
            WHERE id = :id AND status = 'running' AND worker = :worker RETURNING *
            """,
            job_id,
            "ended by this worker",
            worker=worker,
            status=status.value,
            message=message,
            error=error,
            metrics=None if metrics is None else json.dumps(finite(metrics)),
            now=self._now(),
        )


def _check_id(job_id: int) -> None:
    """Raise ``JobNotFound`` for what SQLite cannot look up: it has no numbers of over 64 bits."""
    if not 0 < job_id < 2**63:
        raise JobNotFound(job_id)
