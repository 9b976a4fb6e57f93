"""Deaths in plain words."""

import contextlib
import errno
import os
import sqlite3
from pathlib import Path

import pytest
import torch

from jobs import reasons
from tests.jobs.queue_helpers import running, settings


def config(**values):
    return settings().model_copy(update=values)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried …"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA"),
    ],
)
def test_memory_errors_of_all_kinds_are_known(error):
    assert reasons.of_exception(error, config()).startswith("The machine ran out of memory: try")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        sqlite3.OperationalError("database or disk is full"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_known(error):
    assert reasons.of_exception(error, config()).startswith("The disk is full: free some space")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_is_known_by_what_torch_makes_of_it():
    with (
        contextlib.suppress(OSError),  # at the end of the file
        Path("/dev/full").open("wb") as file,
        pytest.raises(RuntimeError) as failed,
    ):
        torch.save({"weights": torch.zeros(100_000)}, file)
    assert "No space left" not in str(failed.value), "else nothing had to be followed"
    assert reasons.of_exception(failed.value, config()).startswith("The disk is full")


def test_only_what_led_to_an_error_explains_it():
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise KeyError("something else") from None
    except KeyError as error:
        assert "KeyError" in reasons.of_exception(error, config())
    knot = RuntimeError("one")
    knot.__cause__ = RuntimeError("two")
    knot.__cause__.__cause__ = knot
    assert "RuntimeError" in reasons.of_exception(knot, config())


@pytest.mark.parametrize(
    ("left", "said"),
    [
        ("checkpoint/state.pt", "Stopped before it was saved; Resume goes on"),
        ("checkpoint.old/state.pt", "Stopped before it was saved; Resume goes on"),
        ("checkpoint.part/state.pt", "Stopped before anything was learned."),
    ],
)
def test_a_stop_tells_whether_there_is_a_checkpoint(store, tmp_path, left, said):
    (tmp_path / left).parent.mkdir()
    (tmp_path / left).write_bytes(b"")
    assert reasons.of_stop(store.enqueue(settings()), tmp_path).startswith(said)


@pytest.mark.parametrize(("age", "kept"), [(-5, True), (5, False)])
def test_the_adapter_of_an_earlier_stop_is_not_told_as_this_ones(store, age, kept):
    """The process of a resumed run may be ended by force before it has written its own."""
    job = running(store)
    folder = store.job_dir(job.id)
    save(folder / "checkpoint" / "state.pt")
    save(folder / "adapter.zip")
    written = job.started_at - age
    os.utime(folder / "adapter.zip", (written, written))
    said = reasons.of_stop(job, folder)
    assert said.endswith("what was learned is kept.") == kept
    assert ("the adapter here is from before" in said) != kept


def save(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


def test_other_errors_show_no_detail():
    said = reasons.of_exception(ValueError("/home/someone/secret"), config())
    assert "ValueError" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("code", "words", "memory", "says"),
    [
        (-9, "", True, "The machine ran out of memory: try"),
        (-9, "", False, "ended from outside (SIGKILL), often because"),
        (-6, "terminate called: std::bad_alloc", False, "The machine ran out of memory: try"),
        (-11, "", False, "ended unexpectedly (SIGSEGV)"),
        (1, "goodbye", False, "ended unexpectedly (exit code 1)"),
        (0xC0000005, "", False, "(exit code 0xc0000005)"),
    ],
)
def test_unexplained_ends(code, words, memory, says):
    said = reasons.of_exit(code, words, config(), memory)
    assert says in said
    assert said.endswith(words)


def test_linuxs_count_of_memory_kills(tmp_path):
    counters = tmp_path / "vmstat"
    counters.write_text("pgfault 9\noom_kill 4\n")
    kills = reasons.MemoryKills(counters)
    assert not kills.explain(-9)
    counters.write_text("pgfault 9\noom_kill 5\n")
    assert kills.explain(-9)
    assert not kills.explain(1)
    counters.unlink()
    assert not kills.explain(-9)
