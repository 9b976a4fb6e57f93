"""A tiny model folder, a small data file and a data folder."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests import tiny
from tests.engine.runs import Runs

QUESTIONS = [
    ("what is the sea", "the light burns"),
    ("what burns", "the light"),
    ("what is the light", "the sea burns"),
    ("who is the user", "the assistant"),
    ("what is the system", "the light is the system"),
    ("is the sea the light", "the sea is what the light burns"),
    ("what is what", "the user is the assistant"),
    ("burns the sea", "what burns is the light"),
    ("the system burns", "the user is the light"),
    ("who burns", "the assistant burns the light"),
]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_model_folder(tmp_path_factory.mktemp("model") / "tiny-llama")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def data_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "questions.jsonl"
    lines = [json.dumps({"prompt": p, "completion": c}) for p, c in QUESTIONS]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def two_cores() -> Iterator[None]:
    """Whatever machine this is."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run(model_folder: Path, data_file: Path, home: Path, tmp_path: Path) -> Runs:
    """Starts runs that share a model, a data file and a data folder."""
    return Runs(model_folder, data_file, home, tmp_path)
