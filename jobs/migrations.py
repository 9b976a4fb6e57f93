"""The database's tables, as ordered steps; which ones were applied is kept in the database.

A step that has been released is never edited: a change is a new step at the end.
A change to the names in ``TrainConfig`` is such a step too, as old jobs keep their settings.
"""

import sqlite3
import time
from pathlib import Path

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from jobs.connections import BUSY_SECONDS, connect
from jobs.job import StoreError


def m001_jobs(db: Database) -> None:
    """The queue. AUTOINCREMENT: a deleted job's number, and so its folder, is never used again."""
    db.execute("""
        CREATE TABLE jobs (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL,
            status TEXT NOT NULL
                CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
            config TEXT NOT NULL,
            phase TEXT NOT NULL DEFAULT '',
            message TEXT NOT NULL DEFAULT '',
            step INTEGER NOT NULL DEFAULT 0,
            total_steps INTEGER NOT NULL DEFAULT 0,
            loss REAL,
            eval_loss REAL,
            learning_rate REAL,
            tokens_per_second REAL,
            memory_mb REAL,
            eta_seconds REAL,
            metrics TEXT,
            error TEXT,
            created_at REAL NOT NULL,
            queued_at REAL NOT NULL,
            started_at REAL,
            finished_at REAL,
            cancel_requested INTEGER NOT NULL DEFAULT 0,
            attempts INTEGER NOT NULL DEFAULT 0,
            worker TEXT,
            device TEXT,
            heartbeat_at REAL
        )
    """)
    db.execute("CREATE INDEX jobs_status ON jobs (status, queued_at)")
    db.execute("""
        CREATE UNIQUE INDEX one_running_job_a_device ON jobs (device) WHERE status = 'running'
    """)


def m002_progress(db: Database) -> None:
    """The points of each job's chart."""
    db.execute("""
        CREATE TABLE progress (
            job_id INTEGER NOT NULL,
            step INTEGER NOT NULL,
            loss REAL,
            eval_loss REAL,
            learning_rate REAL,
            tokens_per_second REAL,
            at REAL NOT NULL,
            PRIMARY KEY (job_id, step)
        ) WITHOUT ROWID
    """)


def m003_scores(db: Database) -> None:
    """Accuracy and macro F1 beside each validation loss, of classifiers."""
    for table in ("jobs", "progress"):
        for column in ("eval_accuracy", "eval_f1"):
            db.execute(f"ALTER TABLE {table} ADD COLUMN {column} REAL")


STEPS = (m001_jobs, m002_progress, m003_scores)
migrations = Migrations("jobs")
for step in STEPS:
    migrations()(step)


def upgrade(path: Path) -> None:
    """Create the database where there is none and apply the steps it lacks.

    Safe when several processes open one home at once: the steps run under a write lock.

    Raises:
        StoreError: the folder or the file cannot be used, or comes from a newer version.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        database = connect(path)
    except (OSError, sqlite3.Error) as error:
        raise _unusable(path) from error
    try:
        _enable_wal(database)
        _apply(database)
    except sqlite3.Error as error:
        raise _unusable(path) from error
    finally:
        database.close()


def _enable_wal(database: Database) -> None:
    """Switch to WAL; SQLite does not wait for a process that does the same, so this does."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            database.enable_wal()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _apply(database: Database) -> None:
    applied = {step.name for step in migrations.applied(database)}
    known = {step.__name__ for step in STEPS}
    if applied - known:
        raise StoreError(
            "The data folder was made by a newer version of LoRA Workbench: "
            "update the program or choose another data folder."
        )
    if applied == known:
        return
    database.execute("BEGIN IMMEDIATE")
    try:
        migrations.apply(database)
        database.commit()
    except BaseException:
        database.rollback()
        raise


def _unusable(path: Path) -> StoreError:
    return StoreError(
        f"The data folder {path.parent} cannot be used: check that you may write to it, "
        f"that the disk is not full and that {path.name} in it is not damaged."
    )
