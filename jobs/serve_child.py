"""The generation child's process: JSON lines in and out, its log, and its end."""

import atexit
import collections
import contextlib
import json
import logging
import logging.handlers
import queue
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs import devices, processes
from jobs.reasons import MemoryKills

LOG_BYTES = 1_000_000
"""Size of the log, and of the one older log that is kept."""

Event = dict[str, Any]


class ServeChild:
    """A running child. ``events`` gives what it says, and ``None`` once it has ended.

    Raises OSError where it cannot be started.
    """

    def __init__(self, command: Sequence[str], log_path: Path) -> None:
        log_path.parent.mkdir(parents=True, exist_ok=True)
        self._log = logging.handlers.RotatingFileHandler(
            log_path, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8", errors="replace"
        )
        self.memory_kills = MemoryKills()
        try:
            self.process = processes.spawn(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                environment=devices.for_answers(),
            )
        except OSError:
            self._log.close()
            raise
        self.events: queue.Queue[Event | None] = queue.Queue()
        self.ended = threading.Event()
        self._words: collections.deque[str] = collections.deque(maxlen=20)
        self._writing = threading.Lock()
        self._closing = threading.Lock()
        self._threads = [
            threading.Thread(target=self._listen, name="generation events", daemon=True),
            threading.Thread(target=self._keep_log, name="generation log", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        atexit.register(self.close)

    def send(self, message: Event) -> bool:
        """Write one message; False where the child does not listen any more."""
        line = json.dumps(message, ensure_ascii=False).encode("utf-8")
        with self._writing:
            return processes.send(self.process, line)

    def last_words(self) -> str:
        """The last lines of its log."""
        return "\n".join(self._words)

    def close(self, patience_seconds: float = 5) -> int:
        """End the child, by force where it does not go by itself; gives its exit code."""
        with self._closing:
            if not self._threads:
                return self.process.wait()
            if self._writing.acquire(timeout=patience_seconds):
                processes.close_stdin(self.process)
                self._writing.release()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience_seconds)
            processes.kill_tree(self.process)
            for thread in self._threads:
                thread.join(patience_seconds)
            self._threads.clear()
            self.events.put(None)
            self.ended.set()
            self._log.close()
            atexit.unregister(self.close)
            return self.process.wait()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                try:
                    event = json.loads(line)
                except (ValueError, RecursionError):
                    event = None
                if isinstance(event, dict):
                    self.events.put(event)
                else:
                    self._note(line)
        self.events.put(None)
        self.ended.set()

    def _keep_log(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self._note(line)

    def _note(self, line: bytes) -> None:
        text = line.decode("utf-8", errors="replace").rstrip()
        self._words.append(text)
        self._log.handle(logging.makeLogRecord({"msg": text}))
