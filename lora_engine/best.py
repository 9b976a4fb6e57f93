"""The best state of a run by its validation loss, and when a run gets no better any more."""

from collections.abc import Sequence
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from lora_engine.adapter import load_trained, trained_tensors

STEP = "step"
Losses = Sequence[tuple[int, float]]
"""(step, mean validation loss), in the order of the steps."""


def best_of(losses: Losses) -> int | None:
    """The update after which the loss was lowest; None where nothing was measured after one."""
    return min(_trained(losses), key=lambda found: found[1], default=(None, 0.0))[0]


def gets_no_better(losses: Losses, patience: int | None) -> bool:
    """Whether none of the last ``patience`` measurements is below all before them.

    As transformers' ``EarlyStoppingCallback``; None never stops.
    """
    found = [loss for _, loss in _trained(losses)]
    if not patience or len(found) <= patience:
        return False
    return min(found[-patience:]) >= min(found[:-patience])


def save_best(file: Path, model: nn.Module, step: int) -> None:
    """Keep what is trained in ``model`` as it is after update ``step``, in place of what was."""
    tensors = {n: t.detach().cpu().contiguous() for n, t in trained_tensors(model).items()}
    unfinished = file.with_suffix(".part")
    save_file(tensors, unfinished, metadata={STEP: str(step)})
    unfinished.replace(file)


def load_best(file: Path, model: nn.Module, step: int) -> bool:
    """Bring ``model`` back to update ``step``, if that is what ``file`` keeps.

    It may keep a later one, where a run was killed between that and its checkpoint.
    """
    if not file.is_file():
        return False
    with safe_open(file, "pt") as kept:
        if (kept.metadata() or {}).get(STEP) != str(step):
            return False
        load_trained(model, {name: kept.get_tensor(name) for name in kept.keys()})  # noqa: SIM118
    return True


def _trained(losses: Losses) -> Losses:
    return [found for found in losses if found[0]]
