"""The worker: takes jobs from the queue and trains each in a child process.

It beats for its jobs while their children live, ends a child that does not stop in time, and
writes down a death that the child could not explain itself. It never imports the engine.
"""

import contextlib
import itertools
import logging
import os
import secrets
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from jobs import logs, processes, reasons
from jobs.devices import Device
from jobs.store import IllegalTransition, Job, JobNotFound, JobStatus, Store

log = logging.getLogger("jobs")

NOTHING_LEARNED = ("", "fetching", "preparing")
"""Phases in which a run can be ended by force and nothing is lost."""
CHILD = (sys.executable, "-m", "jobs.run_job")


@dataclass(frozen=True)
class Timing:
    """How patient a worker is, in seconds."""

    poll: float = 0.5
    beat: float = 10
    stalled: float = 30
    """A job whose worker was silent for this long belongs to nobody."""
    stop_grace: float = 120
    """From a click on Stop to an end by force, while there is something learned to save."""
    early_stop_grace: float = 5
    """The same before the first update."""
    shutdown_grace: float = 8
    """From Ctrl-C to an end by force; container managers allow ten seconds."""


PATIENT = Timing()


@dataclass
class Child:
    """A job in training."""

    job: Job
    process: subprocess.Popen[bytes]
    beaten_at: float
    memory_kills: reasons.MemoryKills
    ending_since: float | None = None

    @property
    def claim(self) -> str:
        """The name by which this child's claim is told from a later one of the same job."""
        assert self.job.worker is not None
        return self.job.worker


class Worker:
    """Trains the jobs of ``store``, one at a time on each device, until ``stop`` is called.

    ``child`` is the command that trains one job; it gets the arguments of ``jobs.run_job``.
    For the store each claim is a worker of its own: what an old child does, or its end, does not
    count for the same job taken again, and a claim without a child is soon given up.
    """

    def __init__(
        self,
        store: Store,
        devices: Sequence[Device],
        timing: Timing = PATIENT,
        child: Sequence[str] = CHILD,
    ) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._store = store
        self._devices = devices
        self._timing = timing
        self._command = child
        self._children: dict[str, Child] = {}
        self._claims = itertools.count(1)
        self._rescued_at = -timing.beat
        self._stops = 0

    def stop(self) -> None:
        """Ask ``run`` to hand its jobs back and return; asked again, it waits for no child.

        May be called from a signal handler.
        """
        self._stops += 1

    def run(self) -> None:
        """Work until ``stop``; the jobs in training then go back to the queue."""
        log.info("Waiting for runs; training on %s", ", ".join(d.name for d in self._devices))
        try:
            while not self._stops:
                try:
                    self._tick()
                except sqlite3.OperationalError as error:
                    log.warning("The database is busy or the disk is full (%s)", error)
                time.sleep(self._timing.poll)
        finally:
            self._hand_back()

    def _tick(self) -> None:
        for name, child in list(self._children.items()):
            if not self._watch(child):
                processes.close_stdin(child.process)
                del self._children[name]
        now = time.monotonic()
        if now - self._rescued_at >= self._timing.beat:
            self._rescued_at = now
            alive = [child.claim for child in self._children.values()]
            for job in self._store.requeue_stalled(self._timing.stalled, alive):
                log.warning("%s was left by a dead worker; it is %s now", job.name, job.status)
        for device in self._devices:
            if device.name not in self._children:
                self._start_next(device)

    def _start_next(self, device: Device) -> None:
        claim = f"{self.name}/{next(self._claims)}"
        job = self._store.claim(claim, device.name)
        if job is None:
            return
        path = self._store.log_path(job.id)
        arguments = (str(job.id), "--worker", claim, "--device", device.engine_device)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as output:
                process = processes.spawn(
                    [*self._command, *arguments, "--data-dir", str(self._store.home)],
                    stdout=output,
                    stderr=output,
                    environment=device.environment,
                )
        except OSError as error:
            log.exception("%s could not be started", job.name)
            self._store.fail(job.id, claim, reasons.of_exception(error, job.config))
            return
        log.info("%s: started on %s", job.name, device.name)
        self._children[device.name] = Child(job, process, time.monotonic(), reasons.MemoryKills())

    def _watch(self, child: Child) -> bool:
        """Beat for a child and end it where it does not end itself; False once it is gone."""
        code = child.process.poll()
        if code is not None:
            self._bury(child, code)
            return False
        now = time.monotonic()
        try:
            job = self._store.get(child.job.id)
        except JobNotFound:  # it has ended and was deleted, and only its process is left
            processes.kill_tree(child.process)
            return False
        if _holds(child, job):
            if now - child.beaten_at >= self._timing.beat:
                self._store.beat(job.id, child.claim)
                child.beaten_at = now
            if not job.cancel_requested:
                return True
        child.ending_since = child.ending_since or now
        if now - child.ending_since < self._grace(child, job):
            return True
        processes.kill_tree(child.process)
        self._bury(child, -reasons.SIGKILL)
        return False

    def _grace(self, child: Child, job: Job) -> float:
        """How long the process of a job that is to end, or has ended, may take for it."""
        if _holds(child, job) and job.phase not in NOTHING_LEARNED:
            return self._timing.stop_grace
        taken_over = job.is_active and not _holds(child, job)
        return 0 if taken_over else self._timing.early_stop_grace

    def _bury(self, child: Child, code: int) -> None:
        """Write down how a dead child ended, where it has not done so itself."""
        store, job = self._store, child.job
        path = store.job_dir(job.id)
        with contextlib.suppress(IllegalTransition, JobNotFound):
            if store.stop_requested(job.id, child.claim):
                store.cancel_done(job.id, child.claim, reasons.of_stop(store.get(job.id), path))
            else:
                words = logs.last_words(store.log_path(job.id))
                reason = reasons.of_exit(code, words, job.config, child.memory_kills.explain(code))
                store.fail(job.id, child.claim, reason)
        log.info("%s: its process has ended (exit code %s)", job.name, code)

    def _hand_back(self) -> None:
        """Have the children save what they know, and put their jobs back in the queue."""
        children = list(self._children.values())
        self._children.clear()
        for child in children:
            processes.send(child.process, b"hand back")
        deadline = time.monotonic() + self._timing.shutdown_grace
        while any(child.process.poll() is None for child in children):
            if time.monotonic() > deadline or self._stops > 1:
                break
            time.sleep(0.05)
        for child in children:
            has_ended = processes.kill_tree(child.process)
            processes.close_stdin(child.process)
            if not has_ended:  # another worker takes the job once this one is silent for long
                log.error("%s: its process cannot be ended", child.job.name)
                continue
            with contextlib.suppress(IllegalTransition, JobNotFound):
                self._store.release(child.job.id, child.claim)


def _holds(child: Child, job: Job) -> bool:
    """Whether the job is still that of this child's claim."""
    return job.status is JobStatus.running and job.worker == child.claim
