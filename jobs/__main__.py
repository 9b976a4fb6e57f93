"""``python -m jobs``: the worker, until Ctrl-C."""

import argparse
import contextlib
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.devices import detect
from jobs.store import Store
from jobs.worker import CHILD, PATIENT, Timing, Worker
from lora_engine.catalog import DEFAULT_HOME
from lora_engine.errors import WorkbenchError


def main(
    arguments: Sequence[str] | None = None,
    timing: Timing = PATIENT,
    child: Sequence[str] = CHILD,
) -> int:
    """Run the worker; 0 after Ctrl-C, 1 where the data folder cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m jobs", description="Train the queued runs.")
    parser.add_argument("--data-dir", type=Path, default=DEFAULT_HOME)
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda:0, …; auto takes every CUDA device"
    )
    given = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    try:
        store = Store(given.data_dir.expanduser().absolute())
    except WorkbenchError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    with contextlib.closing(store):
        worker = Worker(store, detect(given.device), timing, child)
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), lambda *_: worker.stop())
        worker.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
