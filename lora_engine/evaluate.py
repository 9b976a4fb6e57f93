"""How good a trained model is on rows that it was not trained on."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from lora_engine.batches import Example
from lora_engine.class_loss import ClassPath, loss_and_scores
from lora_engine.loss import LossPath, mean_loss
from lora_engine.patience import Impatient
from lora_engine.prepare import Work


def look(path: LossPath, updates: Iterable[list[Example]]) -> tuple[float, dict[str, float]]:
    """Mean loss of all rows; of a classifier also accuracy and macro F1, by their names in
    ``Progress``. The rows are read once."""
    if isinstance(path, ClassPath):
        return loss_and_scores(path, updates)
    return mean_loss(path, updates), {}


def measure(
    model: Any, path: LossPath, work: Work, tell: Callable[[str], None]
) -> dict[str, dict[str, Any] | None]:
    """What the task measures on the ``validation`` rows and on the ``test`` rows, as JSON values;
    None where there are no such rows, where the loss in training says all of them, or where
    patience ran out before.
    """
    was_training = model.training
    model.eval()
    found: dict[str, dict[str, Any] | None] = {"validation": None, "test": None}
    with suppress(Impatient):
        for name, share in (("validation", work.validation), ("test", work.test)):
            if share and (work.task.scores or name == "test"):
                tell(f"Measuring on {len(share):,} {name} rows")
                measured = work.task.measure(model, path, work.words, share, tell)
                found[name] = {"dataset": share.name, **measured}
    model.train(was_training)
    return found
