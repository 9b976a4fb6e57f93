"""An engine without a model: ``config.dataset`` is a JSON plan of what shall happen.

``steps``: updates to do; ``seconds``: how long each takes; ``at``: update → what happens there;
``first``: what happens before the first report.
"""

import atexit
import json
import os
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_engine.errors import DataError
from lora_engine.progress import Progress


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


@dataclass(frozen=True)
class Result:
    metrics: dict[str, Any]
    stopped: bool


def happen(what):
    match what:
        case "crash":
            os.abort()
        case "hang":
            while True:
                time.sleep(0.05)
        case "memory":
            raise MemoryError
        case "torch memory":
            raise OutOfMemoryError("tried to allocate 1 GiB")
        case "bad data":
            raise DataError("The file holds no rows: choose another one.")
        case "bug":
            raise KeyError("secret detail")
        case "grandchild":
            program = "import time; time.sleep(600)"
            process = subprocess.Popen([sys.executable, "-c", program])
            atexit.register(process.kill)  # where nobody kills this one
            sys.stdout.write(f"grandchild {process.pid}\n")
            sys.stdout.flush()
        case "exit":
            sys.stderr.buffer.write(b"2026-01-01 10:00:00,000 goodbye \xff\xfe world\n")
            sys.stderr.flush()
            os._exit(3)


def train(config, out_dir, report, should_stop, *, home, resume=False, device="auto"):
    assert out_dir.is_relative_to(home)
    plan = json.loads(config.dataset)
    steps = plan["steps"]
    checkpoint = out_dir / "checkpoint" / "state.pt"
    done = int(checkpoint.read_text()) if resume else 0
    with (out_dir / "starts.txt").open("a") as starts:
        starts.write(json.dumps({"pid": os.getpid(), "from": done, "device": device}) + "\n")
    happen(plan.get("first"))
    stopped = False
    for step in range(done + 1, steps + 1):
        if stopped := should_stop():
            break
        if done == 0:
            happen(plan.get("at", {}).get(str(step)))
        time.sleep(plan.get("seconds", 0))
        report(Progress(phase="training", step=step, total_steps=steps, loss=1 / step))
        save(checkpoint, step)
    learned = int(checkpoint.read_text()) if checkpoint.exists() else 0
    if learned:
        report(Progress(phase="saving", step=learned, total_steps=steps))
        with zipfile.ZipFile(out_dir / "adapter.zip", "w") as archive:
            archive.writestr("step.txt", str(learned))
    return Result({"steps": learned, "loss": float("nan")}, stopped)


def save(checkpoint: Path, step: int) -> None:
    checkpoint.parent.mkdir(exist_ok=True)
    new = checkpoint.with_suffix(".new")
    new.write_text(str(step))
    new.replace(checkpoint)
