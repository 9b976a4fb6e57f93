"""A BERT without a head, and runs that teach it to classify."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lora_engine.config import TrainConfig
from lora_engine.train import TrainResult, train
from tests import tiny
from tests.engine.classification.texts import rows_of, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT without a head, as it comes from pretraining."""
    place = tmp_path_factory.mktemp("model") / "tiny-bert"
    tiny.save_model_folder(place, tiny.bert().base_model, tiny.pair_tokenizer())
    return place


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Callable[..., TrainResult]:
    data = write(tmp_path / "rows.csv", rows_of())

    def start(name: str = "out", stop_at: int | None = None, **changes: Any) -> TrainResult:
        settings = {
            "base_model": str(folder), "dataset": str(data), "epochs": 12, "batch_size": 4,
            "learning_rate": 0.02, "max_length": 32, "precision": "fp32", "validation_share": 0.25,
        }  # fmt: skip
        resume = changes.pop("resume", False)
        hear = changes.pop("heard", lambda _: None)
        steps: list[int] = [0]
        return train(
            TrainConfig.parse(settings | changes), tmp_path / name,
            lambda progress: (steps.append(progress.step), hear(progress)),
            lambda: stop_at is not None and steps[-1] >= stop_at,
            home=tmp_path / "home", device="cpu", resume=resume, checkpoint_seconds=0,
        )  # fmt: skip

    return start
