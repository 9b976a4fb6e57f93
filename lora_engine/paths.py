"""Paths as people and programs write them."""

from pathlib import Path


def existing(said: str) -> Path | None:
    """The file or folder at a path, with ``~`` for a home folder; None where there is none."""
    try:
        path = Path(said).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long, nobody's home, a null character
        return None


def existing_file(said: str) -> Path | None:
    """The same of files alone."""
    found = existing(said)
    return found if found is not None and found.is_file() else None
