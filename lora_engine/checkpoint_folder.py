"""Where a checkpoint lies, and how a new one takes its place; known without torch.

A new one is written beside the old one and takes its name once it is whole:
``checkpoint.part`` → ``checkpoint`` → ``checkpoint.old`` → gone. Between the two renames only
``checkpoint.old`` is whole, so it counts as the checkpoint then.
"""

import contextlib
import os
import shutil
from pathlib import Path

STATE = "state.pt"
"""The file that a whole checkpoint holds."""


def exists(folder: Path) -> bool:
    """Whether there is a checkpoint to go on from."""
    return find(folder) is not None


def find(folder: Path) -> Path | None:
    """The folder that holds the checkpoint; ``folder``, or beside it after a death."""
    return next((each for each in (folder, _previous(folder)) if _is_whole(each)), None)


def begin(folder: Path) -> Path:
    """A new folder to write the next checkpoint to; the one before it stays until ``publish``."""
    unfinished, previous = folder.with_name(f"{folder.name}.part"), _previous(folder)
    if find(folder) == previous:  # a death between the two renames: take the first one back
        shutil.rmtree(folder, ignore_errors=True)
        previous.rename(folder)
    for stale in (unfinished, previous):
        shutil.rmtree(stale, ignore_errors=True)
    unfinished.mkdir(parents=True)
    return unfinished


def publish(unfinished: Path, folder: Path) -> None:
    """Give a checkpoint that is whole and on the disk its place."""
    _sync(unfinished)
    previous = _previous(folder)
    if folder.exists():
        folder.rename(previous)
    unfinished.rename(folder)
    _sync(folder.parent)  # the new name is on the disk before the old checkpoint goes
    shutil.rmtree(previous, ignore_errors=True)


def _previous(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.old")


def _is_whole(folder: Path) -> bool:
    return (folder / STATE).is_file()


def _sync(folder: Path) -> None:
    """Put the names in a folder on the disk, where the system can."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
