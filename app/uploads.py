"""Files in Gradio's own folder: what was uploaded, and copies that may be sent."""

import shutil
import time
from pathlib import Path
from uuid import uuid4

from gradio.utils import get_upload_folder

KEPT_SECONDS = 86_400
"""Age at which a copy is removed when the next one is made."""


def discard(path: str) -> None:
    """Delete an uploaded file whose content is kept elsewhere by now; no other file."""
    file = Path(path).resolve()
    if file.is_relative_to(Path(get_upload_folder()).resolve()):
        file.unlink(missing_ok=True)


def set_aside(path: str) -> str:
    """An uploaded file in a place of its own. Gradio gives equal files one place, from which
    ``discard`` may take it for whoever uploaded the other."""
    file = Path(path)
    folder = Path(get_upload_folder()) / uuid4().hex
    folder.mkdir(parents=True)
    return str(shutil.copy2(file, folder / file.name))


def sendable_copy(path: Path, name: str) -> str:
    """A copy of a file under a good name, from where it may be sent; made once a version."""
    copies = Path(get_upload_folder()) / "adapters"
    version = path.stat()
    folder = copies / f"{version.st_mtime_ns}-{version.st_size}"
    copy = folder / name
    if not copy.exists():
        _remove_old(copies)
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f"{name}.{uuid4().hex}.part"
        shutil.copyfile(path, unfinished)
        unfinished.replace(copy)
    return str(copy)


def _remove_old(copies: Path) -> None:
    for folder in copies.glob("*/"):
        if time.time() - folder.stat().st_mtime > KEPT_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
