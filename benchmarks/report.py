"""What every benchmark shares: the machine, the versions, a Markdown table and a JSON file."""

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "transformers", "peft", "accelerate", "datasets", "gradio")


@dataclass(frozen=True)
class Bar:
    """One line of a table: ours against the reference, and the ratio that was asked for."""

    work: str
    unit: str
    ours: float
    reference: float
    """The other side, or the limit where there is no other side."""
    bar: str
    """What was asked for, such as ``≥ 3.0 ×`` or ``≤ 50 ms``."""
    reached: bool
    note: str = ""

    @property
    def ratio(self) -> float:
        """ours / reference."""
        return self.ours / self.reference


def at_least(
    work: str, unit: str, ours: float, reference: float, bar: float, note: str = ""
) -> Bar:
    """A bar that is reached where ours is ``bar`` times the reference or more."""
    return Bar(work, unit, ours, reference, f"≥ {bar} ×", ours >= bar * reference, note)


def at_most(work: str, unit: str, ours: float, reference: float, bar: float, note: str = "") -> Bar:
    """A bar that is reached where ours is ``bar`` times the reference or less."""
    return Bar(work, unit, ours, reference, f"≤ {bar} ×", ours <= bar * reference, note)


def within(work: str, unit: str, ours: float, limit: float, note: str = "") -> Bar:
    """A bar that is reached where ours is no more than ``limit``, in the same unit."""
    return Bar(work, unit, ours, limit, f"≤ {limit:g} {unit}", ours <= limit, note)


def markdown(bars: Sequence[Bar]) -> str:
    """The table, with the machine and the versions below it."""
    lines = [
        "| Work | Unit | Ours | Reference | Ratio | Bar | Reached | Note |",
        "| --- | --- | --: | --: | --: | --- | --- | --- |",
    ]
    lines += [
        f"| {bar.work} | {bar.unit} | {bar.ours:.4g} | {bar.reference:.4g} | {bar.ratio:.2f} "
        f"| {bar.bar} | {'yes' if bar.reached else 'no'} | {bar.note} |"
        for bar in bars
    ]
    where = machine()
    said = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    lines += ["", f"{where['date']}, {where['processor']}, {where['cores']} cores, "
              f"{where['memory_gb']:.0f} GB, Python {where['python']}; {said}."]  # fmt: skip
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "date": date.today().isoformat(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": psutil.virtual_memory().total / 1e9,
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def write(
    name: str,
    bars: Sequence[Bar],
    details: Any,
    folder: Path = RESULTS,
    *,
    keep: bool = False,
) -> Path:
    """Write ``folder/name.json``: the bars, the machine, and every single measurement.

    With ``keep``, works that are in the file already and were measured on this machine on this
    day with these versions stay there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    rows = [asdict(bar) | {"ratio": bar.ratio} for bar in bars]
    said: dict[str, Any] = {"machine": machine(), "bars": rows, "details": details}
    if keep and path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before["machine"] == said["machine"]:
            measured = {bar.work for bar in bars}
            others = [row for row in before["bars"] if row["work"] not in measured]
            said |= {"bars": others + rows, "details": before["details"] | details}
    path.write_text(json.dumps(said, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def median(values: Sequence[float]) -> float:
    """The middle one; the mean of the two in the middle where the count is even."""
    return float(statistics.median(values))


def peak_memory_mb() -> float:
    """The most memory that this process has held, in MB of 10**6 bytes; on a CUDA card, where it
    has used one.

    On Linux from /proc, because getrusage also counts the process that started this one.
    """
    used = sys.modules.get("torch")
    if used is not None and used.cuda.is_initialized():
        return float(used.cuda.max_memory_allocated()) / 1e6
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    import torch

    from lora_engine.memory import peak_memory_mb as peak

    return peak(torch.device("cpu"))


def _processor() -> str:
    """The processor's name; on Linux with the instructions that decide between number formats."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    lines = [line.partition(":") for line in info.read_text().splitlines()]
    found = {name.strip(): value.strip() for name, _, value in lines}
    known = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in found["flags"]]
    return f"{found['model name']} ({', '.join(known)})"


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """A command line with the options that every benchmark has."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    made.add_argument("--runs", type=int, default=3, help="runs of each side, in turns")
    made.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON file")
    return made
