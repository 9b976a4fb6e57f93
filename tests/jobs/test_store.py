"""The store, on a real SQLite file."""

import gc
import sqlite3
import subprocess
import sys
import threading

import pytest

from jobs.connections import Connections
from jobs.store import (
    MAX_ATTEMPTS,
    IllegalTransition,
    JobNotFound,
    JobStatus,
    Store,
    StoreError,
)
from lora_engine.config import LoraConfig, TrainConfig
from lora_engine.progress import Progress
from tests.jobs.queue_helpers import HERE, WORKER, running, settings, training


def test_a_job_keeps_its_settings(store):
    config = TrainConfig(
        base_model="m", dataset="数据", lora=LoraConfig(r=3, target_modules=("a", "b"))
    )
    job = store.enqueue(config, "  my run ")
    assert store.get(job.id) == job
    assert (job.config, job.name, job.status) == (config, "my run", JobStatus.queued)
    assert (job.can_stop, job.can_resume, job.can_delete) == (True, False, True)


def test_a_job_without_a_name_gets_one(store):
    job = store.enqueue(settings())
    assert job.name == f"Run {job.id}"


def test_listed_newest_first_and_worked_off_oldest_first(store):
    ids = [store.enqueue(settings()).id for _ in range(3)]
    assert [job.id for job in store.list()] == ids[::-1]
    assert [job.id for job in store.list(limit=1)] == ids[-1:]
    assert store.claim(WORKER, "cpu").id == ids[0]
    assert [job.id for job in store.active()] == ids
    assert store.any_running()


def make_unreadable(store, job, config):
    store._database.execute("UPDATE jobs SET config = ? WHERE id = ?", [config, job.id])


@pytest.mark.parametrize(
    ("config", "base_model", "problem"),
    [
        ('{"base_model": "m", "dataset": "d", "lora": {"new": 1}}', "m", "no setting named 'lora"),
        ('{"base_model": 7, "dataset": "d"}', "unknown", "base_model must be text"),
        ("half a {", "unknown", "not valid JSON"),
        ("[]", "unknown", "must be a JSON object"),
    ],
)
def test_settings_of_another_version_fail_their_own_job_only(store, config, base_model, problem):
    done, bad, good = (store.enqueue(settings()) for _ in range(3))
    store.claim(WORKER, "cpu")
    store.succeed(done.id, WORKER, {})
    for job in (done, bad):
        make_unreadable(store, job, config)
    assert store.claim(WORKER, "cpu").id == good.id
    assert [job.id for job in store.list()] == [good.id, bad.id, done.id]
    failed = store.get(bad.id)
    assert (failed.status, failed.config.base_model) == (JobStatus.failed, base_model)
    assert failed.error.startswith("The settings of this run cannot be read by this version: ")
    assert problem in failed.error
    assert (failed.can_resume, failed.can_delete) == (False, True)
    assert store.get(done.id).status is JobStatus.succeeded
    assert store.get(done.id).unreadable == failed.error
    store.delete(bad.id)


def test_one_running_job_a_device(store):
    first, second, third = (store.enqueue(settings()) for _ in range(3))
    assert store.claim(WORKER, "cuda:0").id == first.id
    assert store.claim("other", "cuda:0") is None
    assert store.claim("other", "cuda:1").id == second.id
    assert store.get(third.id).status is JobStatus.queued
    with pytest.raises(sqlite3.IntegrityError):  # the database itself refuses a second one
        store._database.execute(
            "UPDATE jobs SET status = 'running', device = 'cuda:0' WHERE id = ?", [third.id]
        )


def test_resumed_jobs_wait_behind_those_already_waiting(store):
    first, second = store.enqueue(settings()), store.enqueue(settings())
    store.request_cancel(first.id)
    store.resume(first.id)
    assert store.claim(WORKER, "cpu").id == second.id


def test_a_report_keeps_what_it_does_not_know(store):
    job = running(store)
    store.record(job.id, WORKER, training(7, eval_loss=2.5, tokens_per_second=50, eta_seconds=9))
    store.record(job.id, WORKER, Progress(phase="fetching", message="Loading"))
    now = store.get(job.id)
    assert (now.phase, now.message, now.eta_seconds) == ("fetching", "Loading", None)
    assert (now.step, now.total_steps, now.loss) == (7, 100_000, 1.0)
    assert (now.eval_loss, now.tokens_per_second) == (2.5, 50)


def test_metrics_that_json_cannot_hold_become_null(store):
    job = running(store)
    metrics = {"loss": float("nan"), "list": [float("inf"), 1], "nested": {"ok": 0.5}}
    done = store.succeed(job.id, WORKER, metrics)
    assert done.metrics == {"loss": None, "list": [None, 1], "nested": {"ok": 0.5}}


def test_losses_that_are_no_numbers_are_not_known(store):
    job = running(store)
    store.record(job.id, WORKER, training(1, eval_loss=2.0))
    odd = {"loss": float("nan"), "eval_loss": float("inf"), "tokens_per_second": float("inf")}
    store.record(job.id, WORKER, training(2).model_copy(update=odd))
    now = store.get(job.id)
    assert (now.step, now.loss, now.eval_loss, now.tokens_per_second) == (2, 1.0, 2.0, None)
    assert [(point.step, point.eval_loss) for point in store.progress(job.id)] == [(1, 2.0)]


def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_flagged(store):
    job = running(store)
    waiting = store.enqueue(settings())
    assert store.request_cancel(waiting.id).status is JobStatus.cancelled
    flagged = store.request_cancel(job.id)
    assert (flagged.status, flagged.cancel_requested) == (JobStatus.running, True)
    assert store.request_cancel(job.id) == flagged
    assert store.stop_requested(job.id, WORKER)
    done = store.cancel_done(job.id, WORKER, "Stopped.", {"steps": 2})
    assert (done.status, done.cancel_requested) == (JobStatus.cancelled, False)
    assert (done.message, done.metrics) == ("Stopped.", {"steps": 2})


BRING = {
    "queued": lambda store, job: store.release(job.id, WORKER),
    "running": lambda store, job: store.get(job.id),
    "succeeded": lambda store, job: store.succeed(job.id, WORKER, {}),
    "failed": lambda store, job: store.fail(job.id, WORKER, "It broke."),
    "cancelled": lambda store, job: store.cancel_done(job.id, WORKER),
}
CHANGES = {
    "request_cancel": (lambda store, job: store.request_cancel(job.id), {"queued", "running"}),
    "resume": (lambda store, job: store.resume(job.id), {"failed", "cancelled"}),
    "delete": (lambda store, job: store.delete(job.id), set(JobStatus) - {"running"}),
    "record": (lambda store, job: store.record(job.id, WORKER, training(1)), {"running"}),
    "stop_requested": (lambda store, job: store.stop_requested(job.id, WORKER), {"running"}),
    "release": (BRING["queued"], {"running"}),
    "succeed": (BRING["succeeded"], {"running"}),
    "fail": (BRING["failed"], {"running"}),
    "cancel_done": (BRING["cancelled"], {"running"}),
}


@pytest.mark.parametrize("status", JobStatus)
@pytest.mark.parametrize("change", CHANGES)
def test_every_change_from_every_state(store, status, change):
    job = running(store)
    BRING[status](store, job)
    before = store.get(job.id)
    assert before.status is status
    call, allowed = CHANGES[change]
    if status in allowed:
        call(store, job)
    else:
        with pytest.raises(IllegalTransition, match=f"because it is {status}"):
            call(store, job)
        assert store.get(job.id) == before


def test_the_refusal_is_a_plain_sentence(store):
    job = running(store)
    with pytest.raises(
        IllegalTransition, match=r"^Run 1 cannot be resumed, because it is running\.$"
    ):
        store.resume(job.id)
    with pytest.raises(JobNotFound, match=r"^There is no run 99"):
        store.resume(99)


def test_resume_keeps_what_was_reached_and_forgets_the_error(store):
    job = running(store)
    store.record(job.id, WORKER, training(7))
    assert store.fail(job.id, WORKER, "It broke.").error == "It broke."
    again = store.resume(job.id)
    assert (again.status, again.error, again.attempts) == (JobStatus.queued, None, 0)
    assert (again.step, again.started_at, again.finished_at) == (7, None, None)
    assert len(store.progress(job.id)) == 1


def test_delete_removes_row_chart_and_folder_and_never_reuses_the_number(store):
    job = running(store)
    store.record(job.id, WORKER, training(1))
    store.job_dir(job.id).mkdir(parents=True)
    (store.job_dir(job.id) / "log.txt").write_text("x")
    with pytest.raises(IllegalTransition):
        store.delete(job.id)
    store.succeed(job.id, WORKER, {})
    store.delete(job.id)
    assert not store.job_dir(job.id).exists()
    assert store.progress(job.id) == []
    with pytest.raises(JobNotFound):
        store.get(job.id)
    assert store.enqueue(settings()).id > job.id


def test_a_worker_that_was_taken_for_dead_changes_nothing(tmp_path):
    now = [0.0]
    store = Store(tmp_path, now=lambda: now[0])
    job = running(store)
    now[0] = 20.0
    assert store.beat(job.id, WORKER)
    now[0] = 49.0
    assert store.requeue_stalled(30) == []
    now[0] = 51.0
    assert store.requeue_stalled(30, except_workers=[WORKER]) == []
    assert [job.status for job in store.requeue_stalled(30)] == [JobStatus.queued]
    assert not store.beat(job.id, WORKER)
    store.claim("second", "cpu")
    before = store.get(job.id)
    for change in (
        lambda: store.record(job.id, WORKER, training(1)),
        lambda: store.stop_requested(job.id, WORKER),
        lambda: store.succeed(job.id, WORKER, {}),
        lambda: store.fail(job.id, WORKER, "x"),
        lambda: store.cancel_done(job.id, WORKER),
        lambda: store.release(job.id, WORKER),
    ):
        with pytest.raises(IllegalTransition):
            change()
    assert not store.beat(job.id, WORKER)
    assert store.get(job.id) == before
    store.close()


def test_three_dead_workers_are_enough(tmp_path):
    now = [0.0]
    store = Store(tmp_path, now=lambda: now[0])
    job = store.enqueue(settings())
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert store.claim(f"worker {attempt}", "cpu").attempts == attempt
        now[0] += 31
        [left] = store.requeue_stalled(30)
    assert left.status is JobStatus.failed
    assert left.error is not None and left.error.startswith("The worker died 3 times")
    assert left.finished_at == now[0]
    assert store.resume(job.id).attempts == 0
    store.close()


def test_a_job_handed_back_keeps_its_place_and_its_attempts(store):
    job = running(store)
    store.enqueue(settings())
    for _ in range(MAX_ATTEMPTS + 1):
        back = store.release(job.id, WORKER)
        assert (back.status, back.attempts, back.worker) == (JobStatus.queued, 0, None)
        assert store.claim(WORKER, "cpu").id == job.id
    store.request_cancel(job.id)
    assert store.release(job.id, WORKER).status is JobStatus.cancelled


def test_a_dead_workers_job_that_was_to_stop_is_stopped(tmp_path):
    now = [0.0]
    store = Store(tmp_path, now=lambda: now[0])
    job = running(store)
    store.request_cancel(job.id)
    now[0] = 31.0
    store.requeue_stalled(30)
    left = store.get(job.id)
    assert (left.status, left.error, left.can_resume) == (JobStatus.cancelled, None, True)
    assert left.message.startswith("Stopped together with the worker")
    store.close()


def test_the_adapter_is_there_once_it_is_zipped(store):
    job = running(store)
    assert store.adapter_zip(job.id) is None
    store.job_dir(job.id).mkdir(parents=True)
    (store.job_dir(job.id) / "adapter.zip").write_bytes(b"PK")
    assert store.adapter_zip(job.id) == store.home / "jobs" / str(job.id) / "adapter.zip"


def test_two_processes_never_claim_one_job(store):
    ids = [store.enqueue(settings()).id for _ in range(150)]
    claimers = [
        subprocess.Popen(
            [sys.executable, str(HERE / "claimer.py"), str(store.home), name],
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        for name in ("one", "two")
    ]
    claimed = [claimer.communicate()[0].split() for claimer in claimers]
    assert [claimer.returncode for claimer in claimers] == [0, 0]
    assert sorted(int(job_id) for part in claimed for job_id in part) == ids


def test_many_threads_use_one_store(store):
    def work():
        for _ in range(20):
            store.enqueue(settings())
            store.list()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.list()) == 160


def test_a_connection_ends_with_its_thread_or_with_all(tmp_path):
    connections = Connections(tmp_path / "x.sqlite")
    opened = []
    thread = threading.Thread(target=lambda: opened.append(connections.get()))
    thread.start()
    thread.join()
    gc.collect()
    mine = connections.get()
    assert connections.get() is mine
    connections.close()
    for database in (*opened, mine):
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            database.execute("SELECT 1")
    assert [*connections.get().query("SELECT 1 AS one")] == [{"one": 1}]
    connections.close()


def test_a_folder_that_cannot_be_used_is_told_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be used"):
        Store(tmp_path / "file")
    (tmp_path / "workbench.sqlite").write_bytes(b"no database " * 100)
    with pytest.raises(StoreError, match="damaged"):
        Store(tmp_path)
