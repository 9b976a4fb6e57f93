"""How long a run that was asked to stop still measures."""

import time

from lora_engine.progress import ShouldStop


class Impatient(Exception):  # noqa: N818 (a way out, not a fault)
    """The run was asked to stop, and its measuring takes too long."""


class Patience:
    """Remembers when a run was asked to stop; ``seconds`` later nothing is measured any more.

    Whoever asks ends the process by force in the end: a person's stop after two minutes
    (``jobs.worker``), the end of the page after seconds, from which Resume goes on.
    """

    def __init__(self, should_stop: ShouldStop, seconds: float) -> None:
        self._should_stop = should_stop
        self._seconds = seconds
        self._asked_at: float | None = None
        self.ran_out = False
        """Whether something was not measured for want of it."""

    def asked(self) -> bool:
        """Whether the run was asked to stop."""
        if self._asked_at is None and self._should_stop():
            self._asked_at = time.monotonic()
        return self._asked_at is not None

    def check(self) -> None:
        """Raise ``Impatient`` where the run was asked to stop long enough ago."""
        if not self.asked():
            return
        assert self._asked_at is not None
        if time.monotonic() - self._asked_at >= self._seconds:
            self.ran_out = True
            raise Impatient
