"""Why a run ended, in plain words, and what to try next."""

import errno
import re
import signal
import sqlite3
from pathlib import Path

from jobs.job import Job
from lora_engine.config import TrainConfig

SIGKILL = 9
"""The signal's number, also where the system does not know it."""
_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemory|can't allocate memory|cannot allocate memory|not enough memory"
    r"|std::bad_alloc|\bMemoryError\b",
    re.IGNORECASE,
)


def of_exception(error: BaseException, config: TrainConfig) -> str:
    """One sentence for an exception that says nothing to a person."""
    if is_out_of_memory(error):
        return out_of_memory(config)
    if _is_disk_full(error):
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

    ``code`` is ``Popen.returncode``: a signal's number with a minus sign, or the exit code.
    """
    if memory_ran_out or says_out_of_memory(last_words):
        reason = out_of_memory(config)
    elif code < 0:
        hint = ", which often means that the machine ran out of memory" if code == -SIGKILL else ""
        reason = (
            f"The training process was ended from outside ({_signal_name(-code)}){hint}: "
            "press Resume to go on from the last checkpoint."
        )
    else:
        shown = code if code < 256 else hex(code)
        reason = (
            f"The training process ended unexpectedly (exit code {shown}): see the log, or press "
            "Resume to go on from the last checkpoint."
        )
    return f"{reason} Its last words: {last_words}" if last_words else reason


def of_stop(job: Job, folder: Path) -> str:
    """What is left of a run that was stopped; ``folder`` is the job's."""
    if (folder / "adapter.zip").is_file():
        return f"Stopped after {job.step} of {job.total_steps} updates; what was learned is kept."
    if (folder / "checkpoint").is_dir():
        return "Stopped before it was saved; Resume goes on from the last checkpoint."
    return "Stopped before anything was learned."


def out_of_memory(config: TrainConfig) -> str:
    """The sentence with the cheaper settings to try, made from the settings that were too dear."""
    *most, last = cheaper_settings(config)
    tries = f"{', '.join(most)} or {last}" if most else last
    return f"The machine ran out of memory: try {tries}."


def cheaper_settings(config: TrainConfig) -> list[str]:
    """Changes that need less memory, the most helpful one first; never empty."""
    tries = []
    if config.batch_size > 1:
        half = config.batch_size // 2
        steps = -(-config.batch_size * config.gradient_accumulation_steps // half)
        tries.append(
            f"batch size {half} instead of {config.batch_size} "
            f"(with gradient accumulation {steps} it learns the same)"
        )
    if config.max_length > 64:
        tries.append(f"maximum length {config.max_length // 2} instead of {config.max_length}")
    if config.lora.r > 1:
        tries.append(f"rank r {config.lora.r // 2} instead of {config.lora.r}")
    modules = config.lora.target_modules or ()
    if len(modules) > 2:
        tries.append(f"fewer target modules than {len(modules)}")
    return [*tries, "a smaller base model"]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the processor or on a device; knows torch's errors by name."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"MemoryError", "OutOfMemoryError"}:
        return True
    return isinstance(error, RuntimeError | OSError) and says_out_of_memory(str(error))


def says_out_of_memory(text: str) -> bool:
    """Whether a program's last words are about memory."""
    return bool(_OUT_OF_MEMORY.search(text))


def memory_kills(counters: Path = Path("/proc/vmstat")) -> int | None:
    """How many processes Linux has killed for want of memory; ``None`` where nobody counts."""
    try:
        text = counters.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
    found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else None


def _is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
    # safetensors and torch wrap the system's error in their own and keep its text.
    full = ("No space left on device", "database or disk is full")
    return isinstance(error, RuntimeError | sqlite3.Error) and any(x in str(error) for x in full)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
