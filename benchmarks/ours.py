"""One run of our own training loop, as the product runs it: a child of ``benchmarks.training``."""

import time
from pathlib import Path
from typing import Any

from benchmarks import children
from benchmarks.report import peak_memory_mb
from lora_engine.catalog import DEFAULT_HOME
from lora_engine.config import TrainConfig
from lora_engine.progress import Progress
from lora_engine.train import train


def main() -> None:
    """Train as the job says, and tell when each update ended, its loss, and the peak memory."""
    job = children.job()
    ended: list[float] = []
    worked: list[float] = []
    losses: list[float] = []
    peaks: dict[str, float] = {}
    """What was going on → the peak memory so far, in MB."""

    def report(progress: Progress) -> None:
        peaks[progress.phase + progress.message] = peak_memory_mb()
        if progress.phase == "training" and progress.loss is not None:
            ended.append(time.perf_counter())
            worked.append(time.process_time())
            losses.append(progress.loss)

    began = time.perf_counter()
    result = train(
        TrainConfig.parse(job["config"] | {"start_from": job["start"]}),
        Path(job["out"]),
        report,
        lambda: False,
        home=DEFAULT_HOME,
        checkpoint_seconds=1e9,
    )
    children.answer(
        {
            "startup_seconds": ended[0] - began,
            "seconds": ended[-1] - ended[0],
            "processor_seconds": worked[-1] - worked[0],
            "losses": losses,
            "peak_mb": peak_memory_mb(),
            "peaks": peaks,
            "test": _scores(result.metrics.get("test")),
            "dtype": result.metrics.get("dtype"),
        }
    )


def _scores(test: dict[str, Any] | None) -> dict[str, float] | None:
    """Of what was found on a test file: the scores, and no text of it."""
    return test and {name: test[name] for name in ("accuracy", "f1")}


if __name__ == "__main__":
    main()
