"""Any order of calls: the store agrees with a model of twenty lines, and refuses what it must."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from jobs.store import MAX_ATTEMPTS, IllegalTransition, JobNotFound, Store
from lora_engine.progress import Progress
from tests.jobs.queue_helpers import settings

STALLED = 30
WORKERS = st.sampled_from(["one", "one", "one", "two"])  # mostly the right one
DEVICES = st.sampled_from(["cpu", "cuda:0"])


@dataclass(frozen=True)
class Row:
    queued_at: float
    status: str = "queued"
    cancel_requested: bool = False
    attempts: int = 0
    worker: str | None = None
    device: str | None = None
    beaten_at: float = 0
    step: int = 0

    def queued(self, **values):
        blank = {"status": "queued", "worker": None, "device": None, "cancel_requested": False}
        return replace(self, **blank | values)

    def ended(self, status):
        return replace(self, status=status, cancel_requested=False)


class QueueMachine(RuleBasedStateMachine):
    jobs = Bundle("jobs")

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now = 1000.0
        self.store = Store(Path(self.folder.name), now=lambda: self.now)
        self.rows: dict[int, Row] = {}

    def teardown(self):
        self.store.close()
        self.folder.cleanup()

    def change(self, job_id, call, allowed, after):
        """Make a call; it must work exactly where the model allows it."""
        self.now += 1
        row = self.rows.get(job_id)
        if row is None:
            with pytest.raises(JobNotFound):
                call()
        elif not allowed(row):
            with pytest.raises(IllegalTransition):
                call()
        else:
            call()
            self.rows[job_id] = after(row)

    @rule(target=jobs)
    def enqueue(self):
        self.now += 1
        job_id = self.store.enqueue(settings()).id
        assert job_id not in self.rows
        self.rows[job_id] = Row(self.now)
        return job_id

    @rule(worker=WORKERS, device=DEVICES)
    def claim(self, worker, device):
        self.now += 1
        job = self.store.claim(worker, device)
        waiting = [(row.queued_at, i) for i, row in self.rows.items() if row.status == "queued"]
        if not waiting or device in self.running_devices():
            assert job is None
            return
        job_id = min(waiting)[1]
        assert job is not None and job.id == job_id
        row = self.rows[job_id]
        self.rows[job_id] = replace(
            row,
            status="running",
            worker=worker,
            device=device,
            attempts=row.attempts + 1,
            beaten_at=self.now,
        )

    @rule(job_id=jobs)
    def request_cancel(self, job_id):
        self.change(
            job_id,
            lambda: self.store.request_cancel(job_id),
            lambda row: row.status in ("queued", "running"),
            lambda row: (
                row.ended("cancelled")
                if row.status == "queued"
                else replace(row, cancel_requested=True)
            ),
        )

    @rule(job_id=jobs)
    def resume(self, job_id):
        self.change(
            job_id,
            lambda: self.store.resume(job_id),
            lambda row: row.status in ("failed", "cancelled"),
            lambda row: row.queued(attempts=0, queued_at=self.now),
        )

    @rule(job_id=jobs)
    def delete(self, job_id):
        self.change(
            job_id,
            lambda: self.store.delete(job_id),
            lambda row: row.status != "running",
            lambda row: row,
        )
        if job_id in self.rows and self.rows[job_id].status != "running":
            del self.rows[job_id]

    @rule(job_id=jobs, worker=WORKERS, step=st.integers(0, 9))
    def record(self, job_id, worker, step):
        report = Progress(phase="training", step=step, total_steps=9, loss=1.0)
        self.change(
            job_id,
            lambda: self.store.record(job_id, worker, report),
            lambda row: row.status == "running" and row.worker == worker,
            lambda row: replace(row, step=step),
        )

    @rule(job_id=jobs, worker=WORKERS, status=st.sampled_from(["succeeded", "failed", "cancelled"]))
    def finish(self, job_id, worker, status):
        calls = {
            "succeeded": lambda: self.store.succeed(job_id, worker, {"loss": 1.0}),
            "failed": lambda: self.store.fail(job_id, worker, "It broke."),
            "cancelled": lambda: self.store.cancel_done(job_id, worker),
        }
        self.change(
            job_id,
            calls[status],
            lambda row: row.status == "running" and row.worker == worker,
            lambda row: row.ended(status),
        )

    @rule(job_id=jobs, worker=WORKERS)
    def release(self, job_id, worker):
        self.change(
            job_id,
            lambda: self.store.release(job_id, worker),
            lambda row: row.status == "running" and row.worker == worker,
            lambda row: self.handed_back(row, row.attempts - 1),
        )

    @rule(job_id=jobs, worker=WORKERS)
    def beat(self, job_id, worker):
        self.now += 1
        row = self.rows.get(job_id)
        mine = row is not None and row.status == "running" and row.worker == worker
        assert self.store.beat(job_id, worker) == mine
        if row is not None and mine:
            self.rows[job_id] = replace(row, beaten_at=self.now)

    @rule(seconds=st.sampled_from([1, STALLED, 2 * STALLED]), asking=WORKERS)
    def requeue_stalled(self, seconds, asking):
        self.now += seconds
        changed = {job.id for job in self.store.requeue_stalled(STALLED, [asking])}
        stalled = {
            job_id
            for job_id, row in self.rows.items()
            if row.status == "running"
            and row.worker != asking
            and row.beaten_at < self.now - STALLED
        }
        assert changed == stalled
        for job_id in stalled:
            self.rows[job_id] = self.handed_back(self.rows[job_id], self.rows[job_id].attempts)

    @invariant()
    def store_and_model_agree(self):
        found = {
            job.id: (job.status.value, job.cancel_requested, job.attempts, job.step)
            for job in self.store.list()
        }
        assert found == {
            job_id: (row.status, row.cancel_requested, row.attempts, row.step)
            for job_id, row in self.rows.items()
        }
        owners = {job.id: (job.worker, job.device) for job in self.store.active()}
        assert owners == {
            job_id: (row.worker, row.device)
            for job_id, row in self.rows.items()
            if row.status in ("queued", "running")
        }

    @invariant()
    def one_running_job_a_device(self):
        devices = self.running_devices()
        assert len(devices) == len(set(devices))

    def running_devices(self):
        return [row.device for row in self.rows.values() if row.status == "running"]

    @staticmethod
    def handed_back(row, attempts):
        if row.cancel_requested:
            status = "cancelled"
        else:
            status = "failed" if attempts >= MAX_ATTEMPTS else "queued"
        return row.queued(status=status, attempts=attempts)


QueueMachine.TestCase.settings = hypothesis_settings(
    max_examples=60, stateful_step_count=60, deadline=None
)
TestQueue = QueueMachine.TestCase
