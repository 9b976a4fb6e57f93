"""What this machine can train on, found without torch."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Device:
    """A place for one job at a time."""

    name: str
    """How the queue calls it, such as ``cpu`` or ``cuda:0``."""
    engine_device: str = "auto"
    """What the engine is told."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables by which the child sees only this device."""


def detect(wanted: str = "auto") -> list[Device]:
    """The devices a worker serves.

    ``auto``: every CUDA device, or else one place in which the engine chooses. ``cuda:1``: that
    one. Anything else is passed on to the engine as it is.
    """
    if wanted == "auto":
        return [_cuda(index) for index in _cuda_indices()] or [Device("cpu")]
    if match := re.fullmatch(r"cuda:(\d+)", wanted):
        return [_cuda(match[1])]
    return [Device(wanted, wanted)]


def _cuda(index: str) -> Device:
    # The engine is told "auto", not "cuda": torch may have been built without CUDA.
    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": index}
    return Device(f"cuda:{index}", "auto", order)


def _cuda_indices() -> list[str]:
    """The devices that the person left visible, or all that the driver names."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [part.strip() for part in visible.split(",") if part.strip() not in ("", "-1")]
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        found = subprocess.run(
            [program, "-L"], capture_output=True, encoding="utf-8", errors="replace", timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return re.findall(r"^GPU (\d+):", found.stdout, re.MULTILINE) if found.returncode == 0 else []
