"""How much memory a process has needed, and what it may still take."""

import ctypes
import math
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""As malloc.h has them."""

CONTAINER = Path("/sys/fs/cgroup")
"""Where a container sees its own limits."""

TIDY_SECONDS = 10.0
"""New pages for everything cost a training process 0.01 to 0.1 s."""

KERNELS_KEPT = 64
"""Enough for the shapes of one pack of rows, which all layers share."""
PRODUCTS_KEPT = 48
"""The same for one thread."""


def limit_kernel_cache(updates_alike: bool = False) -> None:
    """Let torch's CPU library keep fewer kernels; before the first product of the process.

    oneDNN keeps 1,024 kernels, one for each shape that it meets, at about half a megabyte each,
    and the layer between torch and oneDNN keeps what belongs to 1,024 products in every thread.
    Rows of every length meet hundreds of shapes, and a shape of the last update seldom comes back.
    Where ``updates_alike`` says that it does, as many again are kept.

    torch does not pass functions for this on, so the numbers are left where both look them up.
    Nothing is read: of the two names that oneDNN knows this is the older, and a person's own
    setting under the newer one (``ONEDNN_…``) wins.
    """
    times = 2 if updates_alike else 1
    os.putenv("DNNL_PRIMITIVE_CACHE_CAPACITY", str(KERNELS_KEPT * times))
    os.putenv("LRU_CACHE_CAPACITY", str(PRODUCTS_KEPT * times))


class Heap:
    """What the C library does with memory that is freed; nothing where it is not glibc."""

    def __init__(self) -> None:
        libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
        # musl has none of these
        self._libc = libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
        self._tidied = time.monotonic()

    def keep(self) -> None:
        """Keep some of what is freed for the next block of its size; before threads are started.

        glibc gives it back to the system at once, and every layer's next buffer is made of new
        pages, which the system zeroes first: 3 % of a run on a CPU. Kept without limit, what two
        threads free falls apart and adds 200 MB to the peak, and another 20 to 90 MB where each
        thread has a heap of its own (benchmarks/NOTES.md).
        """
        if self._libc:
            self._libc.mallopt(M_ARENA_MAX, 2)
            self._libc.mallopt(M_MMAP_THRESHOLD, 4_000_000)
            self._libc.mallopt(M_TRIM_THRESHOLD, 30_000_000)

    def tidy(self) -> None:
        """Now and then, give all of it back: in time it falls apart after all."""
        now = time.monotonic()
        if self._libc and now - self._tidied > TIDY_SECONDS:
            self._libc.malloc_trim(0)
            self._tidied = now


def free_memory(device: torch.device) -> float:
    """Bytes that this process may still take: of the CUDA device, else of the machine or, where a
    container has less, of the container."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + kept
    return min(psutil.virtual_memory().available, _free_in_container(CONTAINER))


def _free_in_container(group: Path) -> float:
    """Bytes left of what a Linux control group (version 2) may take; infinite without a limit."""
    try:
        most, used = ((group / name).read_text() for name in ("memory.max", "memory.current"))
        cached = re.search(r"^inactive_file (\d+)", (group / "memory.stat").read_text(), re.M)
        return int(most) - int(used) + int(cached[1] if cached else 0)
    except (OSError, ValueError):  # no such group, or "max"
        return math.inf


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory so far in MB of 10**6 bytes: of the CUDA device, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # Linux counts in KiB
