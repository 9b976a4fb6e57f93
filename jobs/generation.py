"""Answers from base and adapted models, made by a child process that is started on demand.

The child (``lora_engine.serve``) loads the base model once and keeps it until it was idle for a
while, or until training needs the memory. No crash in it takes the page down.
"""

import itertools
import queue
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import reasons
from jobs.serve_child import Event, ServeChild
from jobs.store import Store
from lora_engine.errors import WorkbenchError
from lora_engine.lack_of_memory import says_out_of_memory

LOOK_SECONDS = 0.1
"""Between two looks of a request that waits at whether it was stopped."""


class GenerationError(WorkbenchError):
    """No answer could be made."""


class Withdrawn(GenerationError):  # noqa: N818 (a way out, not a fault)
    """The request was stopped before its turn came."""


@dataclass(eq=False)
class _Request:
    """What waits for its turn, or is being answered."""

    asker: str
    number: int | None = None
    """What the child calls it, once its turn has come."""
    stopped: bool = False


@dataclass(frozen=True)
class Limits:
    """How patient a ``Generator`` is, in seconds."""

    idle: float = 600
    """Unused for this long, the child gives its memory back."""
    idle_while_training: float = 30
    """The same while a job is being trained on this machine."""
    silence: float = 300
    """A child that says nothing for this long is taken for stuck."""
    watch: float = 5
    """Between two looks at the clock."""


class Generator:
    """Makes answers, one request after another; usable from any thread.

    ``command`` starts the child that answers.
    """

    def __init__(
        self, home: Path, *, limits: Limits = Limits(), command: Sequence[str] | None = None
    ) -> None:
        serve = (sys.executable, "-m", "lora_engine.serve", "--home", str(home))
        self._command = command or serve
        self._log_path = home / "logs" / "generation.log"
        self._limits = limits
        self._store = Store(home)
        self._turn = threading.Lock()  # held while a request is answered
        self._numbers = itertools.count(1, 2)  # a request's stop has the number after its own
        self._requests: set[_Request] = set()
        self._listing = threading.Lock()  # held while that set is changed or read
        self._child: ServeChild | None = None
        self._watcher: threading.Thread | None = None
        self._used_at = time.monotonic()

    def answer(
        self,
        base_model: str,
        rows: Sequence[dict[str, Any]],
        options: dict[str, Any],
        divergence: bool = True,
        asker: str = "",
    ) -> Iterator[Event]:
        """Answer each row; gives ``status`` and ``text`` events and, last, one ``done`` event.

        A row is ``{"adapter": path or None, "strength": 1.0, "messages": [{"role", "content"}]}``.
        Closing the iterator early stops the answer. Waits while another request is answered.
        ``asker`` is who may ``stop`` it; with none, nobody may.

        Raises:
            Withdrawn: it was stopped while it waited.
            GenerationError: the request cannot be answered, or the child has died.
        """
        yield from self._asked(
            asker,
            {
                "op": "answer",
                "base_model": base_model,
                "rows": list(rows),
                "options": options,
                "divergence": divergence,
            },
        )

    def classify(
        self, base_model: str, rows: Sequence[dict[str, Any]], asker: str = ""
    ) -> Iterator[Event]:
        """Sort each row into labels; ``status`` events and, last, one ``done`` event with
        ``labels`` and a row of ``probabilities`` each.

        A row is ``{"adapter": path or None, "strength": 1.0, "text": …, "text_pair": ""}``.

        Raises:
            GenerationError: as ``answer``.
        """
        asked = {"op": "classify", "base_model": base_model, "rows": list(rows)}
        yield from self._asked(asker, asked)

    def _asked(self, asker: str, message: dict[str, Any]) -> Iterator[Event]:
        request = _Request(asker)
        with self._listing:
            self._requests.add(request)
        try:
            self._wait_for_turn(request)
            try:
                yield from self._answered(request, message)
            finally:
                self._turn.release()
        finally:
            with self._listing:
                self._requests.discard(request)

    def _wait_for_turn(self, request: _Request) -> None:
        while not self._turn.acquire(timeout=LOOK_SECONDS):
            if request.stopped:
                raise Withdrawn("Your question was taken back before its turn came.")

    def _answered(self, request: _Request, message: dict[str, Any]) -> Iterator[Event]:
        child = self._started()
        request.number = number = next(self._numbers)
        try:
            child.send({"id": number, **message})
            if request.stopped:  # perhaps before it had a number
                _end(child, number)
            yield from self._events(child, number)
        finally:
            _end(child, number)  # in case nobody waits for the rest
            self._used_at = time.monotonic()

    def stop(self, asker: str) -> None:
        """End what this asker has asked: an answer that is being made gives ``done`` soon, one
        that waits raises ``Withdrawn``."""
        child = self._child
        with self._listing:
            own = [request for request in self._requests if asker and request.asker == asker]
        for request in own:
            request.stopped = True
            if request.number is not None and child is not None:
                _end(child, request.number)

    def close(self) -> None:
        """End the child; a later request starts a new one."""
        if self._child is not None:
            self._child.close()
        if self._watcher is not None:
            self._watcher.join()
        self._store.close()

    def _started(self) -> ServeChild:
        if self._child is not None and not self._child.ended.is_set():
            return self._child
        try:
            child = ServeChild(self._command, self._log_path)
        except OSError as error:
            raise GenerationError(
                f"The process that makes answers could not be started ({error.strerror}): "
                "free some memory and disk space, then ask again."
            ) from error
        self._child = child
        self._used_at = time.monotonic()
        self._watcher = threading.Thread(
            target=self._watch, args=(child,), name="generation watcher", daemon=True
        )
        self._watcher.start()
        return child

    def _events(self, child: ServeChild, number: int) -> Iterator[Event]:
        while True:
            try:
                event = child.events.get(timeout=self._limits.silence)
            except queue.Empty:
                child.close(patience_seconds=0)
                raise GenerationError(
                    "The process that makes answers was silent for too long and was ended: "
                    "ask again, or choose a smaller base model."
                ) from None
            if event is None:
                raise GenerationError(_reason(child))
            if event.get("id") != number:
                continue  # left over from an answer that nobody waited for
            if event["event"] == "error":
                raise GenerationError(event["message"])
            yield event
            if event["event"] == "done":
                return

    def _watch(self, child: ServeChild) -> None:
        """End an idle child, and tidy up after one that has ended by itself."""
        while not child.ended.wait(self._limits.watch):
            if self._is_idle() and self._turn.acquire(blocking=False):
                try:
                    if self._is_idle():
                        child.close()
                finally:
                    self._turn.release()
        child.close()

    def _is_idle(self) -> bool:
        idle_for = time.monotonic() - self._used_at
        if idle_for <= self._limits.idle_while_training:
            return False
        return idle_for > self._limits.idle or self._store.any_running()


def _end(child: ServeChild, number: int) -> None:
    """Ask for an end of request ``number``, which may have ended already."""
    child.send({"id": number + 1, "op": "stop"})


def _reason(child: ServeChild) -> str:
    """Why a child that has ended did so."""
    code = child.close()
    if child.memory_kills.explain(code) or says_out_of_memory(child.last_words()):
        return (
            "The machine ran out of memory while it answered: wait until training has ended, "
            "close other programs, or choose a smaller base model."
        )
    return (
        f"The process that makes answers ended unexpectedly ({reasons.exit_name(code)}): ask "
        "again to start a new one, or see logs/generation.log in the data folder."
    )
