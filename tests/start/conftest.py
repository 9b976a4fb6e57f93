"""start.py under test, with its installation replaced by a list of its commands."""

import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.start.project import write_project


@pytest.fixture
def start(tmp_path: Path) -> ModuleType:
    """start.py in a project of its own."""
    return write_project(tmp_path / "project")


@pytest.fixture
def steps(start: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that an installation runs; making the environment makes its python."""
    ran: list[str] = []

    def step(*command: str) -> None:
        ran.append(" ".join(command[1:]).replace(str(start.ROOT), "ROOT"))
        if "venv" in command:
            shutil.rmtree(start.VENV, ignore_errors=True)
            python = start.program("python")
            python.parent.mkdir(parents=True)
            python.symlink_to(sys.executable)

    monkeypatch.setattr(start, "step", step)
    return ran


@pytest.fixture
def installed(start: ModuleType, steps: list[str]) -> ModuleType:
    """start.py with its environment made; ``steps`` is empty again."""
    start.install()
    steps.clear()
    return start
