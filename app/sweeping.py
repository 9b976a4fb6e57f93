"""What earlier pages and runs left in the data folder, perhaps killed, is removed at the start."""

import logging
import shutil
import sqlite3
import time
from pathlib import Path

from app.services import Services
from jobs import leftovers
from jobs.job import JobStatus

log = logging.getLogger("app")

ABANDONED_SECONDS = 86_400
"""Age at which what was never completed is removed; another page may be at work on newer things."""


def sweep(services: Services) -> None:
    """Remove what nothing uses: unfinished work of a day ago, and what runs that ended well leave
    beside their zips. A page that cannot do so serves all the same."""
    try:
        _sweep(services)
    except (OSError, sqlite3.Error):
        log.exception("The data folder could not be tidied up")


def _sweep(services: Services) -> None:
    home = services.home
    for path in home.glob("making-*"):
        _remove_old(path)
    for path in (home / "uploads").glob("**/*"):
        if path.is_file():
            _remove_old(path)
    jobs = {str(job.id): job for job in services.store.list(limit=0)}
    for folder in (home / "jobs").glob("*/"):
        job = jobs.get(folder.name)
        # without a job the database may be another one, and a folder all that is left of a run
        if job is not None and not job.is_active:
            for path in (*folder.glob(".*"), *folder.glob("*.part")):
                _remove_old(path)
            if job.status is JobStatus.succeeded:
                leftovers.remove(folder)


def _remove_old(path: Path) -> None:
    try:
        if time.time() - path.stat().st_mtime < ABANDONED_SECONDS:
            return
    except OSError:  # gone meanwhile
        return
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
