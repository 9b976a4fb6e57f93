"""What the tests of the queue share."""

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.devices import Device
from jobs.store import Job, JobStatus, Store
from jobs.worker import Timing, Worker
from lora_engine.config import TrainConfig
from lora_engine.progress import Progress

HERE = Path(__file__).parent
WORKER = "worker"
FAKE_CHILD = (sys.executable, str(HERE / "fake_child.py"))
QUICK = {"poll": 0.05, "beat": 0.1}

unix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs kill -9")


def settings(steps: int = 3, **plan: Any) -> TrainConfig:
    """Settings for the fake engine."""
    return TrainConfig(base_model="tiny", dataset=json.dumps({"steps": steps, **plan}))


def until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait for a condition; give what it gave."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return found


def is_gone(pid: int) -> bool:
    """Whether a process has ended; in a container its number may stay."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def ended(store: Store, job_id: int) -> Job:
    """Wait until a job has ended."""

    def end() -> Job | None:
        job = store.get(job_id)
        return None if job.is_active else job

    return until(end)


def at_step(store: Store, job_id: int, step: int) -> Job:
    """Wait until a job trains and has done some updates."""

    def reached() -> Job | None:
        job = store.get(job_id)
        assert job.is_active, job
        return job if job.status is JobStatus.running and job.step >= step else None

    return until(reached)


def learned(store: Store, job_id: int) -> int:
    """The step of the fake engine's last checkpoint."""
    path = store.job_dir(job_id) / "checkpoint" / "state.pt"
    return int(path.read_text()) if path.exists() else 0


def starts(store: Store, job_id: int) -> list[dict[str, Any]]:
    """What the fake engine noted each time it was started."""
    path = store.job_dir(job_id) / "starts.txt"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@contextlib.contextmanager
def working(store: Store, device: str = "cpu", **timing: float) -> Iterator[Worker]:
    """A worker in a thread of this process, with real children."""
    worker = Worker(store, [Device(device)], Timing(**QUICK | timing), FAKE_CHILD)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join()


def start_worker(store: Store, device: str = "cpu", **timing: float) -> subprocess.Popen[bytes]:
    """A worker in a process of its own; what it says goes to ``worker.txt``."""
    with (store.home / "worker.txt").open("ab") as output:
        return subprocess.Popen(
            [
                sys.executable,
                str(HERE / "fake_worker.py"),
                json.dumps(QUICK | timing),
                "--data-dir",
                str(store.home),
                "--device",
                device,
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


def running(store: Store, config: TrainConfig | None = None) -> Job:
    """A job that its worker has taken."""
    store.enqueue(config or settings())
    job = store.claim(WORKER, "cpu")
    assert job is not None
    return job


def training(step: int, **values: Any) -> Progress:
    """What a child reports of one step."""
    return Progress(phase="training", step=step, total_steps=100_000, loss=1.0, **values)
