"""What is deleted or gone on with must not be in use, and leaves nothing old behind."""

from pathlib import Path
from typing import Any

import pytest

from app import keeping
from app.services import Services
from jobs.job import Job, JobNotFound, JobStatus
from lora_engine.config import TrainConfig
from lora_engine.data.library import Dataset
from lora_engine.errors import DataError
from tests.app.conftest import make_table


@pytest.fixture
def dataset(services: Services, tmp_path: Path) -> Dataset:
    return services.library.add(make_table(tmp_path / "numbers.csv"))


def waiting(services: Services, name: str = "Next", **settings: Any) -> Job:
    given = {"base_model": "m", "dataset": "d", **settings}
    return services.store.enqueue(TrainConfig.parse(given), name)


def stopped(services: Services) -> Job:
    """A run that left an adapter, and exports of it."""
    store = services.store
    job = waiting(services, "First")
    store.claim("w", "cpu")
    folder = store.job_dir(job.id)
    (folder / "merged").mkdir(parents=True)
    for name in ("adapter.zip", "gguf.zip", "merged/model.safetensors"):
        (folder / name).write_bytes(b"old")
    return store.cancel_done(job.id, "w")


@pytest.mark.parametrize("setting", ["dataset", "test_dataset"])
def test_a_data_set_that_a_run_needs_stays(
    services: Services, dataset: Dataset, setting: str
) -> None:
    job = waiting(services, **{setting: dataset.dataset_id})
    with pytest.raises(keeping.StillNeeded, match=f"“Next” .run {job.id}. needs this data set"):
        keeping.delete_dataset(services, dataset.dataset_id)
    services.library.get(dataset.dataset_id)
    services.store.request_cancel(job.id)
    keeping.delete_dataset(services, dataset.dataset_id)
    with pytest.raises(DataError):
        services.library.get(dataset.dataset_id)


def test_a_run_that_another_begins_with_stays(services: Services) -> None:
    first = stopped(services)
    start = services.store.job_dir(first.id) / "adapter.zip"
    job = waiting(services, start_from=str(start))
    assert services.store.claim("w", "cpu") == services.store.get(job.id)
    with pytest.raises(keeping.StillNeeded, match=f"“Next” .run {job.id}. begins with this one"):
        keeping.delete_run(services, first.id)
    services.store.fail(job.id, "w", "It broke.")
    keeping.delete_run(services, first.id)
    with pytest.raises(JobNotFound):
        services.store.get(first.id)
    assert not start.parent.exists()


def test_a_run_that_is_being_worked_on_stays_as_it_is(services: Services) -> None:
    job = stopped(services)
    with services.working_on([job]):
        for change in (keeping.delete_run, keeping.resume):
            with pytest.raises(keeping.StillNeeded, match="is being measured or exported"):
                change(services, job.id)
    assert services.store.get(job.id) == job
    keeping.delete_run(services, job.id)


def test_what_was_exported_does_not_pass_for_what_comes_next(services: Services) -> None:
    job = stopped(services)
    assert keeping.resume(services, job.id).status is JobStatus.queued
    left = [path.name for path in services.store.job_dir(job.id).iterdir()]
    assert left == ["adapter.zip"]
