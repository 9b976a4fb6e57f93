"""Runs of a tiny real model, as several tests start them."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from lora_engine.config import TrainConfig
from lora_engine.prepare import Work, prepare
from lora_engine.progress import Progress
from lora_engine.train import TrainResult, train

FILES = {
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "metrics.json",
    "task.json",
    "train_config.json",
}


class Runs:
    """Starts runs that share a model, a data file and a data folder."""

    def __init__(self, model_folder: Path, data_file: Path, home: Path, tmp_path: Path) -> None:
        self.base = {"base_model": str(model_folder), "dataset": str(data_file)}
        self.home = home
        self.tmp_path = tmp_path
        self.reports: list[Progress] = []
        self.device = "cpu"

    def config(self, **changes: Any) -> TrainConfig:
        quick = {"epochs": 4, "batch_size": 3, "learning_rate": 0.02, "max_length": 96}
        quick["precision"] = "fp32"
        return TrainConfig.parse(self.base | quick | changes)

    def __call__(
        self, name: str, stop_at: int | None = None, resume: bool = False, **changes: Any
    ) -> TrainResult:
        self.reports = []

        def should_stop() -> bool:
            return stop_at is not None and self.reports[-1].step >= stop_at

        return train(
            self.config(**changes),
            self.tmp_path / name,
            self.reports.append,
            should_stop,
            home=self.home,
            resume=resume,
            device=self.device,
            checkpoint_seconds=0,
        )

    def work(self) -> Work:
        """Model and data as a run sees them."""
        return prepare(self.config(), self.home, self.tmp_path / "again", lambda _: None)

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        return load_file(self.tmp_path / name / "adapter" / "adapter_model.safetensors")


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)
