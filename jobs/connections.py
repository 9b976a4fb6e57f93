"""SQLite connections: one a thread, closed with the thread or all at once."""

import sqlite3
import threading
import weakref
from pathlib import Path

from sqlite_utils import Database

BUSY_SECONDS = 30.0
"""How long a statement waits for another process's write."""


def connect(path: Path) -> Database:
    """Open a database in autocommit mode; any thread may close it."""
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    return Database(connection, execute_plugins=False)


class _Held:
    """Closes its connection when nothing refers to it any more, as when its thread has ended."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.close = weakref.finalize(self, database.close)


class Connections:
    """A connection for each thread that asks: Gradio calls handlers from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._local = threading.local()
        self._open: weakref.WeakSet[_Held] = weakref.WeakSet()

    def get(self) -> Database:
        """The calling thread's connection, opened on first use."""
        held: _Held | None = getattr(self._local, "held", None)
        if held is None:
            held = _Held(connect(self._path))
            self._local.held = held
            with self._lock:
                self._open.add(held)
        return held.database

    def close(self) -> None:
        """Close every thread's connection; a later ``get`` opens a new one."""
        with self._lock:
            self._local = threading.local()
            for held in list(self._open):
                held.close()
            self._open.clear()
