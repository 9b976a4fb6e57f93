"""Databases of every age open, at once and in any number of processes."""

import subprocess
import sys

import pytest

from jobs.connections import connect
from jobs.migrations import STEPS, migrations
from jobs.store import JobStatus, Store, StoreError
from lora_engine.progress import Progress
from tests.jobs.queue_helpers import settings

NAMES = [step.__name__ for step in STEPS]


@pytest.mark.parametrize("applied", range(len(STEPS)))
def test_every_older_database_is_brought_up_to_date(tmp_path, applied):
    database = connect(tmp_path / "workbench.sqlite")
    migrations.apply(database, stop_before=NAMES[applied])
    kept = "m001_jobs" in NAMES[:applied]
    charted = "m002_progress" in NAMES[:applied]
    if charted:
        point = {"step": 1, "loss": 2.0, "eval_loss": 3.0, "at": 1.0}
        database["progress"].insert({"job_id": 1, **point})
    if kept:
        database["jobs"].insert(
            {
                "name": "old",
                "status": "queued",
                "config": '{"base_model": "m", "dataset": "d"}',
                "created_at": 1.0,
                "queued_at": 1.0,
            }
        )
    database.close()

    store = Store(tmp_path)
    assert [job.name for job in store.list()] == (["old"] if kept else [])
    if charted:
        (old,) = store.progress(1)
        assert (old.loss, old.eval_loss, old.eval_accuracy, old.eval_f1, old.at) == (
            *(2.0, 3.0, None, None, 1.0),
        )
        store._database["progress"].delete_where()
    store.enqueue(settings())
    job = store.claim("worker", "cpu")
    report = {"eval_loss": 1.5, "eval_accuracy": 0.75, "eval_f1": 0.5}
    store.record(
        job.id, "worker", Progress(phase="training", step=1, total_steps=2, loss=1.0, **report)
    )
    (point,) = store.progress(job.id)
    assert {name: getattr(point, name) for name in report} == report
    assert store.succeed(job.id, "worker", {}).status is JobStatus.succeeded
    assert [step.name for step in migrations.applied(store._database)] == NAMES
    store.close()


def test_write_ahead_log_is_on(store):
    assert store._database.journal_mode == "wal"


def test_a_newer_database_is_left_alone(store):
    store._database["_sqlite_migrations"].insert(
        {"migration_set": "jobs", "name": "m999_later", "applied_at": "2030-01-01"}
    )
    with pytest.raises(StoreError, match="newer version"):
        Store(store.home)


def test_a_step_that_breaks_leaves_the_database_as_it_was(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("jobs.migrations.migrations._record_applied", lambda *_: 1 / 0, raising=True)
        with pytest.raises(ZeroDivisionError):
            Store(tmp_path)
    store = Store(tmp_path)
    assert store.list() == []
    store.close()


def test_many_processes_open_a_new_home_at_once(tmp_path):
    program = (
        "import sys; from pathlib import Path; from jobs.store import Store\n"
        "input()\n"
        "store = Store(Path(sys.argv[1])); print(len(store.list())); store.close()"
    )
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "home")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        for _ in range(6)
    ]
    for opener in openers:
        opener.stdin.write("go\n")
        opener.stdin.flush()
    assert [opener.communicate()[0].strip() for opener in openers] == ["0"] * len(openers)
