"""What a run leaves beside its zip, and what of it nothing uses once the run has ended well."""

import shutil
from contextlib import suppress
from pathlib import Path

OF_TRAINING = (
    *("checkpoint", "checkpoint.part", "checkpoint.old", "tokens", "test-tokens"),
    *("adapter", "adapter.part"),
)
BEST = "best.safetensors"
"""Needed to go on with a run, or (``adapter``) held by the zip as well. On the command line, where
a finished run can be gone on with for more epochs, they stay."""


def remove(folder: Path) -> None:
    """Give their space back; ``folder`` is that of a job that has succeeded."""
    for name in OF_TRAINING:
        shutil.rmtree(folder / name, ignore_errors=True)
    with suppress(OSError):
        (folder / BEST).unlink(missing_ok=True)
