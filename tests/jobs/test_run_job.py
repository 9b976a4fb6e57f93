"""The child's bookkeeping, without a process."""

from types import SimpleNamespace

import pytest

from jobs.run_job import Run, describe
from jobs.store import IllegalTransition, JobStatus
from lora_engine.progress import Progress
from tests.jobs.queue_helpers import settings

WORKER = "worker"


@pytest.fixture
def job(store):
    store.enqueue(settings())
    return store.claim(WORKER, "cpu")


def training(step, **values):
    return Progress(phase="training", step=step, total_steps=1000, loss=1.0, **values)


def engine(result=None, reports=(), seen=None):
    """A ``load_train`` whose engine makes some reports and gives a result."""

    def train(config, out_dir, report, should_stop, **options):
        if seen is not None:
            seen.update(options, config=config, out_dir=out_dir, asked_to_stop=should_stop())
        for progress in reports:
            report(progress)
        return result or SimpleNamespace(metrics={"loss": 0.5}, stopped=False)

    return lambda: train


def test_a_few_reports_a_second_are_kept_and_always_the_last(store, job):
    reports = [training(step) for step in range(1, 1001)]
    Run(store, job.id, WORKER, lambda: False).train(engine(reports=reports), "cpu")
    steps = [point.step for point in store.progress(job.id)]
    assert (steps[0], steps[-1]) == (1, 1000)
    assert len(steps) < 500
    assert store.get(job.id).step == 1000


def test_every_phase_message_and_measurement_is_kept(store, job, monkeypatch):
    kept = []
    record = store.record
    monkeypatch.setattr(store, "record", lambda *given: (kept.append(given[2]), record(*given)))
    reports = [
        Progress(phase="fetching", message="Downloading: 1 %"),
        Progress(phase="fetching", message="Downloading: 2 %"),
        Progress(phase="fetching", message="Unpacking"),
        training(1),
        training(2),
        training(2, eval_loss=2.0),
        Progress(phase="saving"),
    ]
    Run(store, job.id, WORKER, lambda: False).train(engine(reports=reports), "cpu")
    assert kept[1:] == [progress for progress in reports if progress != reports[4]]


def test_the_log_says_what_was_measured():
    measured = {"eval_loss": 0.5, "eval_accuracy": 0.0, "eval_f1": 0.6667}
    said = describe(Progress(phase="evaluating", **measured))
    assert said == "Evaluating, validation loss 0.5000, accuracy 0.0%, macro F1 66.7%"
    assert "accuracy" not in describe(training(1, eval_loss=0.5))


def test_the_engine_is_told_where_and_how(store, job):
    seen = {}
    Run(store, job.id, WORKER, lambda: False).train(engine(seen=seen), "cuda")
    assert seen == {
        "config": job.config,
        "out_dir": store.job_dir(job.id),
        "home": store.home,
        "resume": False,
        "device": "cuda",
        "asked_to_stop": False,
    }


@pytest.mark.parametrize("name", ["checkpoint", "checkpoint.old"])
def test_with_a_checkpoint_it_goes_on(store, job, name):
    """Killed while a new one took its place, it has only the one that was set aside."""
    folder = store.job_dir(job.id) / name
    folder.mkdir(parents=True)
    (folder / "state.pt").write_bytes(b"")
    seen = {}
    Run(store, job.id, WORKER, lambda: False).train(engine(seen=seen), "cpu")
    assert seen["resume"] is True


def test_a_stop_that_comes_too_late_is_a_success(store, job):
    store.request_cancel(job.id)
    seen = {}
    Run(store, job.id, WORKER, lambda: False).train(engine(seen=seen), "cpu")
    assert seen["asked_to_stop"] is True
    done = store.get(job.id)
    assert (done.status, done.cancel_requested) == (JobStatus.succeeded, False)


def test_handed_back_unless_the_person_asked_for_a_stop(store, job):
    stopped = SimpleNamespace(metrics={}, stopped=True)
    Run(store, job.id, WORKER, lambda: True).train(engine(stopped), "cpu")
    assert store.get(job.id).status is JobStatus.queued
    store.claim(WORKER, "cpu")
    store.request_cancel(job.id)
    Run(store, job.id, WORKER, lambda: True).train(engine(stopped), "cpu")
    assert store.get(job.id).status is JobStatus.cancelled


def test_a_lost_job_is_left_alone(store, job):
    def load_train():
        store.requeue_stalled(-60)
        store.claim("another", "cpu")
        return engine(reports=[training(1)])()

    with pytest.raises(IllegalTransition):
        Run(store, job.id, WORKER, lambda: False).train(load_train, "cpu")
    now = store.get(job.id)
    assert (now.status, now.worker, now.step) == (JobStatus.running, "another", 0)


def test_an_engine_that_cannot_be_loaded_is_a_plain_failure(store, job):
    def load_train():
        raise ImportError("no module named torch")

    Run(store, job.id, WORKER, lambda: False).train(load_train, "cpu")
    assert store.get(job.id).error.endswith("(ImportError): the log has the details.")
