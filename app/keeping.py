"""Deleting runs and data sets, and going on with a run: only while nothing else needs them."""

from pathlib import Path

from app import file_answers, making
from app.services import Services
from app.wording import data as data_words
from app.wording import runs as words
from jobs.job import Job
from lora_engine import checkpoint_folder
from lora_engine.errors import DataError, WorkbenchError
from lora_engine.paths import existing


class StillNeeded(WorkbenchError):  # noqa: N818 (a sentence, not a fault)
    """Something else works with what was to be changed."""


def resume(services: Services, job_id: int) -> Job:
    """Put a stopped or failed run back into the queue.

    What was exported of its adapter and answered by it goes, or it would pass for the one that is
    learned now.

    Raises:
        StillNeeded: its adapter is being worked on.
        IllegalTransition: it has not ended, or it has ended well.
    """
    _check_idle(services, job_id)
    job = services.store.resume(job_id)
    making.forget_exports(services, job_id)
    file_answers.forget(services, job_id)
    return job


def has_checkpoint(services: Services, job_id: int) -> bool:
    """Whether a run that is gone on with has something to go on from."""
    return checkpoint_folder.exists(services.store.job_dir(job_id) / "checkpoint")


def has_data(services: Services, job: Job) -> bool:
    """Whether the data sets of a run are still there, without which it cannot be gone on with."""
    try:
        for name in filter(None, (job.config.dataset, job.config.test_dataset)):
            if existing(name) is None:  # test data may be a file
                services.library.get(name)
    except DataError:
        return False
    return True


def delete_run(services: Services, job_id: int) -> None:
    """Delete a run and all that came of it; raises ``StillNeeded`` as ``check_run``."""
    check_run(services, job_id)
    services.store.delete(job_id)


def check_run(services: Services, job_id: int) -> None:
    """Raise ``StillNeeded`` where a waiting or running run begins with this one's adapter, which
    is read again each time it is gone on with, or where a tool works on it."""
    _check_idle(services, job_id)
    folder = services.store.job_dir(job_id).resolve()
    for job in services.store.active():
        start = job.config.start_from
        if start and Path(start).expanduser().resolve().is_relative_to(folder):
            raise StillNeeded(words.DELETE_NEEDED.format(name=job.name, job=job.id))


def delete_dataset(services: Services, dataset_id: str) -> None:
    """Delete a data set; raises ``StillNeeded`` as ``check_dataset``."""
    check_dataset(services, dataset_id)
    services.library.remove(dataset_id)


def check_dataset(services: Services, dataset_id: str) -> None:
    """Raise ``StillNeeded`` where a waiting or running run learns from this data set or is
    tested with it: it reads the rows to its end."""
    for job in services.store.active():
        if dataset_id in (job.config.dataset, job.config.test_dataset):
            raise StillNeeded(data_words.DELETE_NEEDED.format(name=job.name, job=job.id))


def _check_idle(services: Services, job_id: int) -> None:
    if services.is_worked_on(job_id):
        raise StillNeeded(words.WORKED_ON)
