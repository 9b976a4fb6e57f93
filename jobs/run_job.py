"""The child: trains one job and says in the store how it goes.

``python -m jobs.run_job ID --data-dir DIR --worker WORKER [--device DEVICE]`` is started by the
worker, which sends its output to the job's log. A line on stdin asks it to hand the job back; the
end of stdin means that the worker is dead, and ends it at once.
"""

import argparse
import contextlib
import faulthandler
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from jobs import leftovers, processes, reasons
from jobs.store import IllegalTransition, Store
from lora_engine import checkpoint_folder
from lora_engine.config import TrainConfig
from lora_engine.errors import WorkbenchError
from lora_engine.progress import Progress, Report, ShouldStop

WRITE_SECONDS = 0.25
"""Reports closer together than this are left out, unless they say something new."""
LOG_SECONDS = 5.0
STOP_CHECK_SECONDS = 0.25

log = logging.getLogger("jobs")


class TrainResult(Protocol):
    """What is used of the engine's answer."""

    @property
    def metrics(self) -> dict[str, Any]: ...
    @property
    def stopped(self) -> bool: ...


class Train(Protocol):
    """``lora_engine.train.train``."""

    def __call__(
        self,
        config: TrainConfig,
        out_dir: Path,
        report: Report,
        should_stop: ShouldStop,
        *,
        home: Path,
        resume: bool,
        device: str,
    ) -> TrainResult: ...


def load_engine() -> Train:
    """Import the engine, and torch with it; this takes seconds."""
    from lora_engine.train import train

    return train


def main(
    arguments: Sequence[str] | None = None, load_train: Callable[[], Train] = load_engine
) -> int:
    """Run the job that the command line names; the exit code is 0 unless the job was lost."""
    parser = argparse.ArgumentParser(prog="python -m jobs.run_job", description="Train one job.")
    parser.add_argument("job_id", type=int)
    parser.add_argument("--worker", required=True, help="who has claimed the job")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args(arguments)

    handing_back = threading.Event()
    processes.listen_to_parent(handing_back.set)
    processes.lower_own_priority()
    faulthandler.enable()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.captureWarnings(True)
    for name in ("jobs", "lora_engine"):
        logging.getLogger(name).setLevel(logging.INFO)

    with contextlib.closing(Store(given.data_dir)) as store:
        run = Run(store, given.job_id, given.worker, handing_back.is_set)
        try:
            run.train(load_train, given.device)
        except IllegalTransition as error:
            log.warning("%s Another worker has it; this process ends.", error)
            return 1
    return 0


class Run:
    """One attempt at one job. ``handing_back`` tells that the worker is being closed.

    Every method raises ``IllegalTransition`` once the job is not this worker's any more.
    """

    def __init__(
        self, store: Store, job_id: int, worker: str, handing_back: Callable[[], bool]
    ) -> None:
        self._store = store
        self._job_id = job_id
        self._worker = worker
        self._handing_back = handing_back
        self._stop_requested = False
        self._stop_checked_at = -STOP_CHECK_SECONDS
        self._written: Progress | None = None
        self._written_at = self._logged_at = 0.0
        self._waiting: Progress | None = None

    def train(self, load_train: Callable[[], Train], device: str) -> None:
        """Train to the end, or until a stop, and bring the job into its last state."""
        store, folder = self._store, self._store.job_dir(self._job_id)
        config = store.get(self._job_id).config
        resume = checkpoint_folder.exists(folder / "checkpoint")
        message = "Going on from the last checkpoint" if resume else "Starting"
        self.report(Progress(phase="preparing", message=message))
        try:
            train = load_train()
            result = train(
                config,
                folder,
                self.report,
                self.should_stop,
                home=store.home,
                resume=resume,
                device=device,
            )
            self.flush()
        except IllegalTransition:
            raise
        except WorkbenchError as error:
            self._fail(str(error))
        except Exception as error:
            log.exception("The run has failed")
            self._fail(reasons.of_exception(error, config))
        else:
            self._end(result)

    def report(self, progress: Progress) -> None:
        """Keep a report: a few a second, everything new, and always the last."""
        news = self._written is None or _topic(progress) != _topic(self._written)
        if news:
            self.flush()
        due = time.monotonic() - self._written_at >= WRITE_SECONDS
        if news or due or progress.eval_loss is not None:
            self._write(progress, news)
        else:
            self._waiting = progress

    def flush(self) -> None:
        """Keep the last report, if it was left out."""
        if self._waiting is not None:
            self._write(self._waiting, True)

    def should_stop(self) -> bool:
        """Whether the person or the worker has asked for an end."""
        now = time.monotonic()
        if not self._stop_requested and now - self._stop_checked_at >= STOP_CHECK_SECONDS:
            self._stop_checked_at = now
            self._stop_requested = self._store.stop_requested(self._job_id, self._worker)
        return self._stop_requested or self._handing_back()

    def _write(self, progress: Progress, worth_logging: bool) -> None:
        self._store.record(self._job_id, self._worker, progress)
        self._waiting, self._written = None, progress
        self._written_at = time.monotonic()
        if (
            worth_logging
            or progress.eval_loss is not None
            or self._written_at - self._logged_at >= LOG_SECONDS
        ):
            self._logged_at = self._written_at
            log.info("%s", describe(progress))

    def _end(self, result: TrainResult) -> None:
        store, job_id, worker = self._store, self._job_id, self._worker
        if not result.stopped:
            store.succeed(job_id, worker, result.metrics)
            leftovers.remove(store.job_dir(job_id))
            log.info("Done")
        elif self._handing_back() and not store.stop_requested(job_id, worker):
            store.release(job_id, worker)
            log.info("The worker is being closed; the run goes on when one is back")
        else:
            message = reasons.of_stop(store.get(job_id), store.job_dir(job_id))
            store.cancel_done(job_id, worker, message, result.metrics)
            log.info("%s", message)

    def _fail(self, reason: str) -> None:
        log.error("%s", reason)
        self._store.fail(self._job_id, self._worker, reason)


def _topic(progress: Progress) -> str:
    """What a report is about: its phase and message, whatever the numbers in it."""
    return re.sub(r"[\d.,]+", "", f"{progress.phase} {progress.message}")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def describe(progress: Progress) -> str:
    """A report as a line of the log."""
    numbers = {
        "loss": progress.loss and f"{progress.loss:.4f}",
        "validation loss": progress.eval_loss and f"{progress.eval_loss:.4f}",
        "accuracy": _percent(progress.eval_accuracy),
        "macro F1": _percent(progress.eval_f1),
        "tokens per second": progress.tokens_per_second and f"{progress.tokens_per_second:.0f}",
    }
    parts = [progress.phase.capitalize()]
    if progress.total_steps:
        parts.append(f"step {progress.step} of {progress.total_steps}")
    parts += [f"{name} {value}" for name, value in numbers.items() if value]
    text = ", ".join(parts)
    return f"{text}: {progress.message}" if progress.message else text


if __name__ == "__main__":
    sys.exit(main())
