"""What lies on the disk while a checkpoint is written, whenever that is cut short."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_engine import checkpoint_folder
from lora_engine.checkpoint import RunState, load_checkpoint, save_checkpoint
from lora_engine.config import LoraConfig, TrainConfig
from lora_engine.errors import SettingsError
from lora_engine.inspection import profile_model
from lora_engine.lora.inject import inject
from lora_engine.optimizer import make_scheduler
from tests import tiny


class Killed(BaseException):
    """Stands in for SIGKILL: nothing may catch it."""


class Training:
    """A tiny model with its optimiser, and the folder of its checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        model = tiny.llama()
        inject(model, LoraConfig(), profile_model(model, "tiny"))
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
        config = TrainConfig(base_model="tiny", dataset="rows")
        self.parts = model, optimizer, make_scheduler(optimizer, config, 10)

    def save(self, step: int) -> None:
        save_checkpoint(self.folder, *self.parts, RunState(step=step), "rows", {})

    def step(self) -> int | None:
        found = load_checkpoint(self.folder, *self.parts, "rows", {})
        return found and found.step


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path / "checkpoint")


@pytest.fixture
def killed_between_renames(training: Training, monkeypatch: pytest.MonkeyPatch) -> Training:
    """Its checkpoint of step 5 was set aside, and the one of step 7 did not get its place."""
    training.save(5)
    rename = Path.rename

    def dying(path: Path, target: Path) -> Path:
        if path.name == "checkpoint.part":
            raise Killed
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", dying)
        with pytest.raises(Killed):
            training.save(7)
    assert not training.folder.exists()
    return training


def fail(error: BaseException) -> Callable[..., Any]:
    def failing(*_: Any, **__: Any) -> Any:
        raise error

    return failing


def test_the_one_set_aside_is_found_and_gone_on_from(killed_between_renames: Training) -> None:
    assert checkpoint_folder.exists(killed_between_renames.folder)
    assert killed_between_renames.step() == 5


def test_the_one_set_aside_outlives_a_save_that_fails(
    killed_between_renames: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", fail(full))
        with pytest.raises(OSError, match="No space left"):
            killed_between_renames.save(9)
    assert killed_between_renames.step() == 5
    killed_between_renames.save(9)
    assert killed_between_renames.step() == 9


def test_a_whole_checkpoint_stands_alone(killed_between_renames: Training) -> None:
    killed_between_renames.save(8)
    assert [path.name for path in killed_between_renames.folder.parent.iterdir()] == ["checkpoint"]


def test_half_of_a_checkpoint_is_none(training: Training) -> None:
    half = training.folder.with_name("checkpoint.part")
    half.mkdir()
    (half / "state.pt").write_bytes(b"half")
    assert not checkpoint_folder.exists(training.folder)
    assert training.step() is None


def test_a_longer_schedule_counts_at_once(training: Training) -> None:
    model, optimizer, scheduler = training.parts
    for _ in range(10):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0
    training.save(10)
    again = Training(training.folder)
    model, optimizer, _ = again.parts
    config = TrainConfig(base_model="tiny", dataset="rows")
    longer = make_scheduler(optimizer, config, 20)
    load_checkpoint(training.folder, model, optimizer, longer, "rows", {})
    assert optimizer.param_groups[0]["lr"] == longer.get_last_lr()[0] > 0


def test_settings_that_an_older_checkpoint_does_not_know_are_no_other_ones(
    training: Training,
) -> None:
    began = {"batch_size": 8, "lora": {"r": 8}}
    save_checkpoint(training.folder, *training.parts, RunState(step=3), "rows", began)
    now = {"batch_size": 8, "sample_answers": 0, "lora": {"r": 8, "use_new": False}}
    found = load_checkpoint(training.folder, *training.parts, "rows", now)
    assert found is not None
    for other in ({"batch_size": 4}, {"lora": {"r": 4}}):
        with pytest.raises(SettingsError, match=next(iter(other))):
            load_checkpoint(training.folder, *training.parts, "rows", now | other)
