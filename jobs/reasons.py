"""Why a run ended, in plain words, and what to try next."""

import errno
import re
import signal
from collections.abc import Iterator
from pathlib import Path

from jobs.job import Job
from lora_engine import checkpoint_folder
from lora_engine.config import TrainConfig

SIGKILL = 9
"""The signal's number, also where the system does not know it."""
_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemory|can't allocate memory|cannot allocate memory|not enough memory"
    r"|std::bad_alloc|\bMemoryError\b|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)


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


def out_of_memory(config: TrainConfig) -> str:
    """The sentence with the cheaper settings to try, made from the settings that were too dear."""
    *most, last = cheaper_settings(config)
    tries = f"{', '.join(most)} or {last}" if most else last
    return f"The machine ran out of memory: try {tries}."


def cheaper_settings(config: TrainConfig) -> list[str]:
    """Changes that need less memory, the most helpful one first; never empty."""
    tries = []
    if config.batch_size > 1:
        batch = config.batch_size
        half = next(size for size in range(batch // 2, 0, -1) if batch % size == 0)
        steps = batch // half * config.gradient_accumulation_steps
        tries.append(
            f"batch size {half} instead of {batch} "
            f"(with gradient accumulation {steps} it learns the same)"
        )
    if config.gradient_checkpointing != "on":
        tries.append("gradient checkpointing")
    if config.max_length > 64:
        tries.append(f"maximum length {config.max_length // 2} instead of {config.max_length}")
    if config.lora.r > 1 and config.lora.method in ("lora", "galore"):
        tries.append(f"rank r {config.lora.r // 2} instead of {config.lora.r}")
    modules = (config.lora.target_modules or ()) if config.lora.method == "lora" else ()
    if isinstance(modules, str):  # all-linear, or a regular expression
        tries.append("only query and value as target modules")
    elif len(modules) > 2:
        tries.append(f"fewer target modules than {len(modules)}")
    if config.quantization == "none" and not config.lora.needs_whole_base:
        tries.append("a base in 4 bits")
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
