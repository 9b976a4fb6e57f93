"""Everything needed to go on with a run as if it had never been interrupted."""

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from lora_engine import checkpoint_folder
from lora_engine.adapter import load_trained, starting_tensors, trained_tensors
from lora_engine.config import Metric
from lora_engine.errors import DataError, DivergedError, SettingsError

MAY_CHANGE = (
    *("epochs", "max_steps", "early_stopping_patience", "fast", "gradient_checkpointing"),
    *("base_model", "dataset", "roles", "task", "test_dataset"),
)
"""Settings that a run may go on with: how long, and where things are (their contents are
compared by ``data``)."""


@dataclass
class RunState:
    """How far a run has come; the place in the data follows from ``step``."""

    step: int = 0
    tokens: int = 0
    """Real tokens trained so far."""
    seconds: float = 0.0
    """Seconds spent in updates so far."""
    losses: list[float] = field(default_factory=list)
    """Mean training loss of each update, in nats per learned token."""
    eval_losses: list[tuple[int, float]] = field(default_factory=list)
    """(step, mean validation loss in nats per learned token)."""
    eval_scores: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    """(step, what else was measured, by its name in ``Progress``); empty but for classifiers."""
    answers_before: list[dict[str, Any]] = field(default_factory=list)
    """To held-out questions, before the first update (see ``glimpse``)."""

    def looks(self, metric: Metric) -> list[tuple[int, float]]:
        """(step, value) of each look at the validation rows; the lower, the better."""
        if metric == "loss":
            return self.eval_losses
        return [(step, -scores[f"eval_{metric}"]) for step, scores in self.eval_scores]


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    state: RunState,
    data: str,
    settings: dict[str, Any],
) -> None:
    """Write a checkpoint; the one before it stays until this one is whole.

    ``data`` is the fingerprint of what is learned from: the place in it follows from ``state``.
    ``settings`` are the run's, as JSON values.

    Raises:
        DivergedError: a trained weight is no number; nothing is written then.
    """
    trained = trained_tensors(model)
    if not all(bool(tensor.isfinite().all()) for tensor in trained.values()):
        raise DivergedError(state.step)
    unfinished = checkpoint_folder.begin(folder)
    contents: dict[str, Any] = {
        "trained": {name: tensor.detach().cpu() for name, tensor in trained.items()},
        "starting": {name: t.cpu() for name, t in starting_tensors(model).items()},
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "state": asdict(state),
        "data": data,
        "settings": settings,
    }
    with (unfinished / checkpoint_folder.STATE).open("wb") as file:
        torch.save(contents, file)
        file.flush()
        os.fsync(file.fileno())
    checkpoint_folder.publish(unfinished, folder)


def load_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: LambdaLR,
    data: str,
    settings: dict[str, Any],
) -> RunState | None:
    """Bring a fresh run to where the checkpoint left off; None where there is no checkpoint.

    Raises:
        DataError: ``data`` is not what the checkpoint was learned from.
        SettingsError: a setting that is not in ``MAY_CHANGE`` was another one then.
    """
    found = checkpoint_folder.find(folder)
    if found is None:
        return None
    contents = torch.load(found / checkpoint_folder.STATE, map_location="cpu", weights_only=True)
    if contents.get("data", data) != data:  # an older checkpoint does not say
        raise DataError(
            "The data are not the rows that this run began with: bring the file and the settings "
            "back as they were, or begin a new run."
        )
    began = contents.get("settings", settings)
    if others := [n for n in settings if n not in MAY_CHANGE and _differ(began, settings, n)]:
        raise SettingsError(
            others[0],
            f"These settings are not those that this run began with ({', '.join(others)}): bring "
            "them back as they were, or begin a new run.",
        )
    load_trained(model, contents["trained"])
    for name, buffer in starting_tensors(model).items():
        buffer.copy_(contents["starting"][name])
    optimizer.load_state_dict(contents["optimizer"])
    scheduler.load_state_dict(contents["scheduler"])
    _take_rates(optimizer, scheduler)
    torch.set_rng_state(contents["random"])
    if contents["random_cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(contents["random_cuda"][: torch.cuda.device_count()])
    return RunState(**contents["state"])


def _differ(began: dict[str, Any], now: dict[str, Any], name: str) -> bool:
    """Whether a setting was another one; what an older checkpoint does not know was not there."""
    if name not in began:
        return False
    before, after = began[name], now[name]
    if isinstance(before, dict) and isinstance(after, dict) and name == "lora":
        return any(_differ(before, after, inner) for inner in after)
    return bool(before != after)


def _take_rates(optimizer: torch.optim.Optimizer, scheduler: LambdaLR) -> None:
    """Take the learning rates of this run's schedule, which may have become longer or shorter."""
    pairs = zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
    scheduler._last_lr = [base * factor(scheduler.last_epoch) for base, factor in pairs]
    for group, rate in zip(optimizer.param_groups, scheduler._last_lr, strict=True):
        group["lr"] = rate
