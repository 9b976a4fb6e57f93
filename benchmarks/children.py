"""Run one side of a benchmark in a process of its own, so that memory and imports are its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
QUIET = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}


def run(module: str, job: dict[str, Any]) -> Any:
    """Start ``python -m benchmarks.MODULE``, give it ``job`` on stdin, and take the last line of
    what it prints as JSON.

    Raises:
        RuntimeError: the process failed; the message is the end of what it said.
    """
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}"],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | QUIET,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{module} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def job() -> dict[str, Any]:
    """What this process is asked to do."""
    given: dict[str, Any] = json.load(sys.stdin)
    return given


def answer(values: dict[str, Any]) -> None:
    """Tell the starting process what was found."""
    print(json.dumps(values))
