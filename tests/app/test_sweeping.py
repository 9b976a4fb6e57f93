"""What is removed from the data folder at the start of the page, and what is not."""

import os
from pathlib import Path

from app.services import Services
from app.sweeping import ABANDONED_SECONDS, sweep
from jobs.job import Job
from lora_engine.config import TrainConfig

TRAINING = {"checkpoint", "tokens", "test-tokens", "adapter"}
KEPT = {"adapter.zip", "gguf.zip", "merged", "log.txt"}


def taken(services: Services) -> Job:
    """A run at work, with everything in its folder that may be in one."""
    services.store.enqueue(TrainConfig(base_model="m", dataset="d"))
    job = services.store.claim("w", "cpu")
    assert job is not None
    for name in (*TRAINING, *KEPT, ".export-x", "adapter.zip.part"):
        path = services.store.job_dir(job.id) / name
        folder = path if "." not in name or name.startswith(".") else path.parent
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "file" if folder == path else path).write_bytes(b"")
    return job


def age(*paths: Path) -> None:
    for path in paths:
        then = path.stat().st_mtime - ABANDONED_SECONDS - 1
        os.utime(path, (then, then))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_runs_keep_what_they_need(services: Services) -> None:
    store = services.store
    done, stopped = taken(services), None
    store.succeed(done.id, "w", {})
    stopped = taken(services)
    store.cancel_done(stopped.id, "w")
    active = taken(services)
    folders = [store.job_dir(job.id) for job in (done, stopped, active)]
    sweep(services)
    assert names(folders[0]) == KEPT | {".export-x", "adapter.zip.part"}, "of today"
    for folder in folders:
        age(folder / ".export-x", folder / "adapter.zip.part")
    sweep(services)
    assert [names(folder) for folder in folders] == [
        KEPT,
        KEPT | TRAINING,
        KEPT | TRAINING | {".export-x", "adapter.zip.part"},
    ]


def test_unfinished_work_goes_after_a_day_and_unknown_runs_stay(services: Services) -> None:
    home = services.home
    old, new = home / "jobs" / "7", home / "jobs" / "8"
    files = [home / "making-a" / "adapter.zip", home / "making-b" / "adapter.zip"]
    files += [home / "uploads" / "x" / "a.csv", home / "uploads" / "x" / "b.csv"]
    files += [old / "merged.txt", new / "merged.txt"]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    age(home / "making-a", home / "uploads" / "x" / "a.csv", old)
    sweep(services)
    assert [file.exists() for file in files] == [False, True] * 2 + [True, True]
