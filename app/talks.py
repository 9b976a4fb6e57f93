"""The answers that are being written, so that one that nobody wants any more changes nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(eq=False)
class Talk:
    """One answer that is being written."""

    left: bool = False
    """Whether its window shows another conversation by now."""


class Talks:
    """The answer of each open window; usable from any thread."""

    def __init__(self) -> None:
        self._by_window: dict[str, Talk] = {}

    @contextmanager
    def begun(self, window: str) -> Iterator[Talk]:
        """An answer, as long as it is being written."""
        talk = self._by_window[window] = Talk()
        try:
            yield talk
        finally:
            if self._by_window.get(window) is talk:
                self._by_window.pop(window, None)

    def leave(self, window: str) -> bool:
        """The window begins another conversation; gives whether an answer was being written."""
        talk = self._by_window.pop(window, None)
        if talk is not None:
            talk.left = True
        return talk is not None
