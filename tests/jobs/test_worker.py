"""The worker with real child processes: ends of every kind, and who notices."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading

import psutil
import pytest

from jobs import processes
from jobs.devices import Device
from jobs.store import JobStatus
from jobs.worker import Timing, Worker
from tests.jobs.queue_helpers import (
    FAKE_CHILD,
    QUICK,
    at_step,
    ended,
    is_gone,
    learned,
    settings,
    start_worker,
    starts,
    unix_only,
    until,
    working,
)

LONG = {"steps": 100_000, "seconds": 0.01}


def child_pid(store, job_id):
    return until(lambda: starts(store, job_id))[-1]["pid"]


def test_jobs_are_trained_one_after_another(store):
    first, second = store.enqueue(settings(5)), store.enqueue(settings(2))
    with working(store):
        done = ended(store, second.id)
    assert done.status is JobStatus.succeeded
    done = store.get(first.id)
    assert (done.status, done.step, done.total_steps) == (JobStatus.succeeded, 5, 5)
    assert (done.loss, done.metrics) == (0.2, {"steps": 5, "loss": None})
    assert done.finished_at <= store.get(second.id).started_at
    assert store.progress(first.id)[-1].step == 5
    assert store.adapter_zip(first.id) is not None
    assert not (store.job_dir(first.id) / "checkpoint").exists(), "it cannot be gone on with"
    assert store.log_tail(first.id).endswith("Done")
    assert "Training, step 5 of 5, loss 0.2000" in store.log_tail(first.id)


def test_the_child_leaves_the_processor_to_others(store):
    job = store.enqueue(settings(**LONG))
    with working(store):
        pid = child_pid(store, job.id)
        assert psutil.Process(pid).nice() > psutil.Process().nice()


def test_a_bad_input_is_told_in_the_engines_own_sentence(store):
    job = store.enqueue(settings(first="bad data"))
    with working(store):
        done = ended(store, job.id)
    assert done.status is JobStatus.failed
    assert done.error == "The file holds no rows: choose another one."
    assert "Traceback" not in store.log_tail(job.id)


def test_a_bug_is_told_plainly_and_its_traceback_stays_in_the_log(store):
    job = store.enqueue(settings(first="bug"))
    with working(store):
        done = ended(store, job.id)
    assert done.status is JobStatus.failed
    assert done.error == (
        "Training ended because of an unexpected error (KeyError): the log has the details."
    )
    assert "Traceback" in store.log_tail(job.id)


@pytest.mark.parametrize("what", ["memory", "torch memory"])
def test_out_of_memory_is_told_with_cheaper_settings(store, what):
    job = store.enqueue(settings(first=what).model_copy(update={"batch_size": 6}))
    with working(store):
        done = ended(store, job.id)
    assert done.error == (
        "The machine ran out of memory: try batch size 3 instead of 6 (with gradient "
        "accumulation 2 it learns the same), gradient checkpointing, maximum length 256 instead "
        "of 512, rank r 4 instead of 8, a base in 4 bits or a smaller base model."
    )


def test_a_child_that_just_ends_leaves_its_last_words(store):
    job = store.enqueue(settings(first="exit"))
    with working(store):
        done = ended(store, job.id)
    assert done.status is JobStatus.failed
    assert "(exit code 3)" in done.error
    assert done.error.endswith("goodbye \ufffd\ufffd world")


@unix_only
def test_a_crash_in_native_code_is_noticed(store):
    job = store.enqueue(settings(first="crash"))
    with working(store):
        done = ended(store, job.id)
    assert "(SIGABRT)" in done.error
    assert "Fatal Python error: Aborted" in done.error
    assert "File" not in done.error


@unix_only
def test_a_killed_child_is_noticed_and_can_go_on(store):
    job = store.enqueue(settings(40, at={"20": "hang"}))
    with working(store):
        until(lambda: learned(store, job.id) == 19)
        os.kill(child_pid(store, job.id), signal.SIGKILL)
        dead = ended(store, job.id)
        assert dead.status is JobStatus.failed
        assert dead.error.startswith("The training process was ended from outside (SIGKILL)")
        assert "Its last words: " in dead.error
        store.resume(job.id)
        assert ended(store, job.id).status is JobStatus.succeeded
    assert [start["from"] for start in starts(store, job.id)] == [0, 19]


def test_stop_keeps_what_was_learned_and_resume_goes_on(store):
    job = store.enqueue(settings(80, seconds=0.02))
    with working(store):
        at_step(store, job.id, 3)
        assert store.request_cancel(job.id).cancel_requested
        stopped = ended(store, job.id)
        assert stopped.status is JobStatus.cancelled
        steps = stopped.metrics["steps"]
        assert 3 <= steps < 80
        assert stopped.message == (
            f"Stopped after {steps} of 80 updates; what was learned is kept."
        )
        assert store.adapter_zip(job.id) is not None
        store.resume(job.id)
        done = ended(store, job.id)
    assert (done.status, done.metrics["steps"]) == (JobStatus.succeeded, 80)
    assert [start["from"] for start in starts(store, job.id)] == [0, steps]


def test_a_child_that_does_not_stop_is_ended_by_force(store):
    job = store.enqueue(settings(9, at={"4": "hang"}))
    with working(store, stop_grace=0.3):
        until(lambda: learned(store, job.id) == 3)
        store.request_cancel(job.id)
        stopped = ended(store, job.id)
    assert stopped.status is JobStatus.cancelled
    assert stopped.message == (
        "Stopped before it was saved; Resume goes on from the last checkpoint."
    )
    assert until(lambda: is_gone(child_pid(store, job.id)))


def test_before_the_first_update_a_stop_does_not_wait(store):
    job = store.enqueue(settings(first="hang"))
    with working(store, early_stop_grace=0.1, stop_grace=600):
        child_pid(store, job.id)
        store.request_cancel(job.id)
        stopped = ended(store, job.id)
    assert (stopped.status, stopped.message) == (
        JobStatus.cancelled,
        "Stopped before anything was learned.",
    )


def test_a_job_that_cannot_be_started_fails_with_a_reason(store):
    job = store.enqueue(settings())
    worker = Worker(store, [Device("cpu")], Timing(**QUICK), ("no-such-program",))
    thread = threading.Thread(target=worker.run)
    thread.start()
    done = ended(store, job.id)
    worker.stop()
    thread.join()
    assert done.error.startswith("Training ended because of an unexpected error")


def test_a_job_without_a_child_is_not_held_for_ever(store, monkeypatch):
    """It was claimed, could not be started, and the database was busy when that was to be told."""
    job = store.enqueue(settings())
    fail, calls = store.fail, []

    def busy_once(*given):
        calls.append(given)
        if len(calls) == 1:
            raise sqlite3.OperationalError("database is locked")
        return fail(*given)

    monkeypatch.setattr(store, "fail", busy_once)
    worker = Worker(store, [Device("cpu")], Timing(**QUICK, stalled=0.2), ("no-such-program",))
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        assert ended(store, job.id).status is JobStatus.failed
    finally:
        worker.stop()
        thread.join()


def test_the_end_of_an_old_child_is_not_that_of_the_resumed_run(store):
    """The run was stopped, resumed and taken by another device while its first child ended."""
    job = store.enqueue(settings(first="hang"))
    one, two = Device("one"), Device("two")
    worker = Worker(store, [one, two], Timing(**QUICK, shutdown_grace=0), FAKE_CHILD)
    try:
        worker._start_next(one)
        store.cancel_done(job.id, store.get(job.id).worker)  # as the child itself does
        store.resume(job.id)
        worker._start_next(two)
        again = store.get(job.id)
        assert again.status is JobStatus.running
        old = worker._children["one"].process
        old.kill()
        old.wait()
        worker._tick()
        now = store.get(job.id)
        assert (now.status, now.device, now.error) == (JobStatus.running, "two", None)
        assert list(worker._children) == ["two"]
    finally:
        worker._hand_back()


def test_two_devices_train_at_once_and_each_child_sees_its_own(store):
    jobs = [store.enqueue(settings(**LONG)) for _ in range(2)]
    devices = [Device("cuda:0", "auto", {"X": "0"}), Device("cuda:1", "cpu", {"X": "1"})]
    worker = Worker(store, devices, Timing(**QUICK, shutdown_grace=5), FAKE_CHILD)
    thread = threading.Thread(target=worker.run)
    thread.start()
    pids = [child_pid(store, job.id) for job in jobs]
    assert {store.get(job.id).device for job in jobs} == {"cuda:0", "cuda:1"}
    assert [starts(store, job.id)[0]["device"] for job in jobs] == ["auto", "cpu"]
    assert [psutil.Process(pid).environ()["X"] for pid in pids] == ["0", "1"]
    worker.stop()
    thread.join()


def test_a_job_that_was_taken_over_is_left_to_the_other_worker(store):
    job = store.enqueue(settings(9, at={"4": "hang"}))
    with working(store):
        until(lambda: learned(store, job.id) == 3)
        pid = child_pid(store, job.id)
        store.requeue_stalled(stalled_after_seconds=-60)  # as if the worker had been silent
        taken = store.claim("another", "elsewhere")
        assert taken is None or taken.id == job.id
        until(lambda: is_gone(pid))


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@unix_only
def test_a_closed_worker_hands_its_job_back_and_the_next_goes_on(store, name):
    job = store.enqueue(settings(60, seconds=0.02))
    first = start_worker(store)
    at_step(store, job.id, 2)
    first.send_signal(getattr(signal, name))
    assert first.wait(30) == 0
    back = store.get(job.id)
    assert (back.status, back.attempts, back.worker) == (JobStatus.queued, 0, None)
    assert is_gone(starts(store, job.id)[0]["pid"])
    with working(store):
        assert ended(store, job.id).status is JobStatus.succeeded
    assert starts(store, job.id)[1]["from"] >= 2


@unix_only
def test_a_closed_worker_does_not_wait_for_a_stuck_child(store):
    job = store.enqueue(settings(first="hang"))
    worker = start_worker(store, shutdown_grace=0.2)
    pid = child_pid(store, job.id)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert store.get(job.id).status is JobStatus.queued
    assert is_gone(pid)


@unix_only
def test_a_job_whose_process_cannot_be_ended_is_not_handed_back(store, monkeypatch):
    """It waits in the kernel for a disk or a driver, say, and holds its folder and device."""
    job = store.enqueue(settings(first="hang"))
    stuck = []
    with working(store, shutdown_grace=0.1) as worker:
        child_pid(store, job.id)
        monkeypatch.setattr(processes, "kill_tree", stuck.append)
        worker.stop()
    stuck[0].wait()  # here it ends with its stdin
    left = store.get(job.id)
    assert left.status is JobStatus.running
    assert left.worker.startswith(worker.name)
    assert [back.status for back in store.requeue_stalled(-60)] == [JobStatus.queued]


@unix_only
def test_a_killed_worker_leaves_no_orphans_and_another_finishes_its_job(store):
    job = store.enqueue(settings(100, seconds=0.02, first="grandchild"))
    worker = start_worker(store)
    at_step(store, job.id, 2)
    family = psutil.Process(worker.pid).children(recursive=True)
    assert len(family) == 2, "the child and its own child"
    worker.kill()
    worker.wait()
    for process in family:
        until(lambda process=process: is_gone(process.pid))
    left = store.get(job.id)
    assert left.status is JobStatus.running, "nobody was there to say otherwise"
    with working(store, stalled=0.5):
        done = ended(store, job.id)
    assert (done.status, done.step, done.attempts) == (JobStatus.succeeded, 100, 2)
    assert starts(store, job.id)[1]["from"] >= left.step


@unix_only
def test_a_job_that_kills_its_worker_three_times_fails(store):
    job = store.enqueue(settings(first="hang"))
    for attempt in (1, 2, 3):
        worker = start_worker(store, stalled=0.3)
        until(lambda attempt=attempt: len(starts(store, job.id)) == attempt)
        worker.kill()
        worker.wait()
    with working(store, stalled=0.3):
        done = ended(store, job.id)
    assert done.error.startswith("The worker died 3 times")
    assert len(starts(store, job.id)) == 3


def test_two_workers_share_the_queue(store):
    jobs = [store.enqueue(settings(3)) for _ in range(4)]
    workers = [start_worker(store, device) for device in ("cpu", "other")]
    for job in jobs:
        assert ended(store, job.id).status is JobStatus.succeeded
    for worker in workers:
        worker.terminate()
        worker.wait()
    assert [len(starts(store, job.id)) for job in jobs] == [1] * len(jobs)
    claims = [store.get(job.id).worker for job in jobs]
    assert len({claim.partition("/")[0] for claim in claims}) == 2


@pytest.mark.parametrize("folder", ["{}/home", pytest.param("~/home", marks=unix_only)])
def test_the_command_line_says_what_is_wrong_with_the_folder(tmp_path, folder):
    (tmp_path / "home").write_text("a file")
    said = subprocess.run(
        [sys.executable, "-m", "jobs", "--data-dir", folder.format(tmp_path)],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert said.returncode == 1
    assert said.stderr.startswith(f"The data folder {tmp_path / 'home'} cannot")
    assert "Traceback" not in said.stderr


def test_the_queue_never_imports_the_engine():
    program = (
        "import sys, jobs.__main__, jobs.run_job, jobs.generation\n"
        "heavy = {'torch', 'transformers', 'datasets'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or None)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
