"""How much memory a process has needed."""

import ctypes
import os
import sys

import psutil
import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""As malloc.h has them."""

KERNELS_KEPT = 64
"""Enough for the shapes of one pack of rows, which all layers share."""


def limit_kernel_cache() -> None:
    """Let torch's CPU library keep fewer kernels; before the first product of the process.

    oneDNN keeps 1,024 kernels, one for each shape that it meets, at about half a megabyte each.
    Rows of every length meet hundreds of shapes, and a shape of the last update seldom comes back.

    torch does not pass oneDNN's function for this on, so the number is left where oneDNN looks
    it up. Nothing is read: of the two names that oneDNN knows this is the older, and a person's
    own setting under the newer one (``ONEDNN_…``) wins.
    """
    os.putenv("DNNL_PRIMITIVE_CACHE_CAPACITY", str(KERNELS_KEPT))


def keep_freed_memory() -> None:
    """Let the C library keep some of what is freed for the next block of its size.

    glibc gives it back to the system at once, and every layer's next buffer is made of new pages,
    which the system zeroes first: 3 % of a run on a CPU. Kept without limit, what two threads
    free falls apart and adds 200 MB to the peak (benchmarks/NOTES.md).
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):  # musl has none
            libc.mallopt(M_MMAP_THRESHOLD, 4_000_000)
            libc.mallopt(M_TRIM_THRESHOLD, 30_000_000)


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory so far in MB of 10**6 bytes: of the CUDA device, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # Linux counts in KiB
