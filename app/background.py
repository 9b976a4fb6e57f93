"""Long work in a thread, so that a handler can tell how far it is."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
Tell = Callable[[float, str], None]
"""Hears the share done (0 to 1) and a sentence."""

LOOK_SECONDS = 0.2


class Background(Generic[T]):
    """Runs ``work`` at once; the work goes on to its end even where nobody waits any more."""

    def __init__(self, work: Callable[[Tell], T]) -> None:
        self._latest = (0.0, "")
        self._results: list[T] = []
        self._errors: list[BaseException] = []
        self._ended = threading.Event()
        threading.Thread(target=self._run, args=(work,), name="page work", daemon=True).start()

    def _run(self, work: Callable[[Tell], T]) -> None:
        try:
            self._results.append(work(self._tell))
        except BaseException as error:  # noqa: BLE001  raised again by result()
            self._errors.append(error)
        finally:
            self._ended.set()

    def _tell(self, share: float, sentence: str) -> None:
        self._latest = (share, sentence)

    def steps(self) -> Iterator[tuple[float, str, float]]:
        """Until the work has ended: share done, sentence, seconds since the start of waiting."""
        began = time.monotonic()
        while not self._ended.wait(LOOK_SECONDS):
            yield *self._latest, time.monotonic() - began

    def result(self) -> T:
        """What the work gave; raises what it raised."""
        self._ended.wait()
        if self._errors:
            raise self._errors[0]
        return self._results[0]
