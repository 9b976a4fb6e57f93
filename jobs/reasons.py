"""Why a run ended, in plain words, and what to try next."""

import errno
import re
import signal
from collections.abc import Iterator
from pathlib import Path

from jobs.job import Job
from lora_engine import checkpoint_folder
from lora_engine.config import TrainConfig
from lora_engine.lack_of_memory import (
    is_out_of_memory,
    out_of_memory,
    says_out_of_memory,
)

SIGKILL = 9
"""The signal's number, also where the system does not know it."""


def of_exception(error: BaseException, config: TrainConfig) -> str:
    """One sentence for an exception that says nothing to a person."""
    if is_out_of_memory(error):
        return out_of_memory(config)
    if any(map(_is_disk_full, _led_to(error))):
        return (
            "The disk is full: free some space, then press Resume to go on from the last "
            "checkpoint."
        )
    return (
        f"Training ended because of an unexpected error ({type(error).__name__}): "
        "the log has the details."
    )


def of_exit(code: int, last_words: str, config: TrainConfig, memory_ran_out: bool) -> str:
    """A reason for a child that ended without giving one, and its last words.

    ``code`` is ``Popen.returncode``.
    """
    if memory_ran_out or says_out_of_memory(last_words):
        reason = out_of_memory(config)
    elif code == -SIGKILL:
        reason = (
            "The training process was ended from outside (SIGKILL), often because the machine ran "
            "out of memory: press Resume to go on from the last checkpoint."
        )
    else:
        reason = (
            f"The training process ended unexpectedly ({exit_name(code)}): see the log, or press "
            "Resume to go on from the last checkpoint."
        )
    return f"{reason} Its last words: {last_words}" if last_words else reason


def of_stop(job: Job, folder: Path) -> str:
    """What is left of a run that was stopped; ``folder`` is the job's."""
    adapter = folder / "adapter.zip"
    is_there = adapter.is_file()
    if is_there and adapter.stat().st_mtime >= (job.started_at or 0):
        return f"Stopped after {job.step} of {job.total_steps} updates; what was learned is kept."
    if checkpoint_folder.exists(folder / "checkpoint"):
        older = " Until then the adapter here is from before the last start." if is_there else ""
        return f"Stopped before it was saved; Resume goes on from the last checkpoint.{older}"
    return "Stopped before anything was learned."


class MemoryKills:
    """Linux's count of processes ended for want of memory, compared with an earlier moment."""

    def __init__(self, counters: Path = Path("/proc/vmstat")) -> None:
        self._counters = counters
        self._before = self._count()

    def explain(self, code: int) -> bool:
        """Whether a child that ended with this code was ended for want of memory since then."""
        return code == -SIGKILL and self._count() > self._before

    def _count(self) -> int:
        try:
            text = self._counters.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return 0
        found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
        return int(found[1]) if found else 0


def exit_name(code: int) -> str:
    """How a process ended; ``code`` is ``Popen.returncode``, a signal's with a minus sign."""
    if code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code if code < 256 else hex(code)}"


def _led_to(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it came from: torch tells a full disk as a position that is wrong."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


def _is_disk_full(error: BaseException) -> bool:
    numbers = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
    if isinstance(error, OSError) and error.errno in numbers:
        return True
    # safetensors, torch and SQLite wrap the system's error in their own and keep its text.
    full = ("No space left on device", "database or disk is full")
    return any(text in str(error) for text in full)
