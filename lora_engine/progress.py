"""What a training run tells while it works."""

from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict

Phase = Literal["fetching", "preparing", "training", "evaluating", "saving"]


class Progress(BaseModel):
    """One report of a run. Fields that are not known yet are ``None``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    phase: Phase
    message: str = ""
    """A sentence for the person at the page; may be empty."""
    step: int = 0
    """Optimiser updates done."""
    total_steps: int = 0
    """Optimiser updates planned."""
    loss: float | None = None
    """Mean training loss per learned token of the latest update, in nats."""
    eval_loss: float | None = None
    """Mean loss per learned token on the validation rows, in nats; set only when just measured."""
    eval_accuracy: float | None = None
    """Share of the validation rows whose label a classifier has right; set with ``eval_loss``."""
    eval_f1: float | None = None
    """Macro F1 of the same rows: the mean over the labels."""
    learning_rate: float | None = None
    tokens_per_second: float | None = None
    """Real (unpadded) tokens trained per second since the run began."""
    memory_mb: float | None = None
    """Peak memory of the process (CPU) or of the device (GPU), in MB of 10**6 bytes."""
    eta_seconds: float | None = None


Report = Callable[[Progress], None]
ShouldStop = Callable[[], bool]
