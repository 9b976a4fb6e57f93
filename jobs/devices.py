"""What this machine can train on, found without torch."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psutil


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


@dataclass(frozen=True)
class Machine:
    """What a run on this machine can count on."""

    memory: int
    """Bytes: of the largest graphics card that a run may get, or else of the machine."""
    fast_bf16: bool
    """Whether products in bf16 are fast; where that cannot be seen without torch, True."""


@cache
def machine() -> Machine:
    """This machine, looked at once."""
    if indices := _cuda_indices():
        sizes = _card_memory()
        known = [sizes[index] for index in indices if index in sizes] or list(sizes.values())
        if known:
            return Machine(max(known), fast_bf16=True)
    flags = _processor_flags()
    fast = not flags or bool({"amx_bf16", "avx512_bf16", "bf16"} & flags)
    return Machine(psutil.virtual_memory().total, fast)


def _processor_flags() -> set[str]:
    """What Linux says that the processor can do; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return set(found[1].split()) if found else set()


def _card_memory() -> dict[str, int]:
    """Index of each NVIDIA card → its memory in bytes."""
    lines = _ask_driver("--query-gpu=index,memory.total", "--format=csv,noheader,nounits")
    return {
        index: int(size) << 20 for index, size in re.findall(r"^(\d+), *(\d+)", lines, re.MULTILINE)
    }


def _cuda(index: str) -> Device:
    # The engine is told "auto", not "cuda": torch may have been built without CUDA.
    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": index}
    return Device(f"cuda:{index}", "auto", order)


def _cuda_indices() -> list[str]:
    """The devices that the person left visible, or all that the driver names."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [part.strip() for part in visible.split(",") if part.strip() not in ("", "-1")]
    return re.findall(r"^GPU (\d+):", _ask_driver("-L"), re.MULTILINE)


def _ask_driver(*arguments: str) -> str:
    """What NVIDIA's program says; empty without a driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        found = subprocess.run(
            [program, *arguments],
            capture_output=True, encoding="utf-8", errors="replace", timeout=30,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout if found.returncode == 0 else ""
