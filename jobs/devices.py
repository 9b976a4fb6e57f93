"""What this machine can train on, found without torch."""

import os
import re
import shutil
import subprocess
import sys
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


def for_answers() -> Mapping[str, str]:
    """Variables of a child that answers: of several cards it gets the last one, as training begins
    with the first."""
    indices = _cuda_indices()
    return _cuda(indices[-1]).environment if len(indices) > 1 else {}


@dataclass(frozen=True)
class Machine:
    """What a run on this machine can count on."""

    memory: int
    """Bytes: of the largest graphics card that a run may get, or else of the machine."""
    fast_bf16: bool
    """Whether products in bf16 are fast; where that cannot be seen without torch, True, except on
    a Mac."""


@cache
def machine() -> Machine:
    """This machine, looked at once."""
    if indices := _cuda_indices():
        cards = _cards()
        known = [cards[index] for index in indices if index in cards] or list(cards.values())
        if known:
            return max(known, key=lambda card: card.memory)
    flags = _processor_flags()
    # On a Mac the engine computes in float32.
    fast = (sys.platform != "darwin" and not flags) or bool(
        {"amx_bf16", "avx512_bf16", "bf16"} & flags
    )
    return Machine(psutil.virtual_memory().total, fast)


def _processor_flags() -> set[str]:
    """What Linux says that the processor can do; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return set(found[1].split()) if found else set()


def _cards() -> dict[str, Machine]:
    """Each NVIDIA card by its index; from compute capability 8 on they have bf16."""
    wanted = "--query-gpu=index,memory.total,compute_cap"
    lines = _ask_driver(wanted, "--format=csv,noheader,nounits")
    return {
        index: Machine(int(size) << 20, fast_bf16=int(major) >= 8)
        for index, size, major in re.findall(r"^(\d+), *(\d+), *(\d+)", lines, re.MULTILINE)
    }


def _cuda(index: str) -> Device:
    # The engine is told "card", not "cuda": torch may have been built without CUDA.
    seen = {"CUDA_VISIBLE_DEVICES": index}
    if "CUDA_VISIBLE_DEVICES" not in os.environ:  # else the numbers are in the person's order
        seen["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # the driver's, whose numbers these are
    return Device(f"cuda:{index}", "card", seen)


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
