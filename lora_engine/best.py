"""The best state of a run on its validation rows, and when a run gets no better any more."""

from collections.abc import Sequence
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from lora_engine.adapter import load_trained, trained_tensors

STEP = "step"
Looks = Sequence[tuple[int, float]]
"""(step, value), in the order of the steps, as ``RunState.looks`` gives: the lower, the better."""


def best_of(looks: Looks) -> int | None:
    """The first update with the best value; None where nothing was measured after an update."""
    return min(_trained(looks), key=lambda found: found[1], default=(None, 0.0))[0]


def gets_no_better(looks: Looks, patience: int | None) -> bool:
    """Whether none of the last ``patience`` measurements is better than all before them.

    As transformers' ``EarlyStoppingCallback``; None never stops.
    """
    found = [value for _, value in _trained(looks)]
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


def _trained(looks: Looks) -> Looks:
    return [found for found in looks if found[0]]
