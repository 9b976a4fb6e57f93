"""Child processes: started, slowed down, ended with all of their own children."""

import _thread
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO

import psutil

_ORPHANED = 70
"""Exit code of a child whose parent is gone."""


def spawn(
    command: Sequence[str],
    *,
    stdout: IO[bytes] | int,
    stderr: IO[bytes] | int,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a child that hears through its stdin when this process ends.

    It gets a process group of its own, so that a Ctrl-C in the terminal reaches only its parent.
    ``environment`` is added to this process's own. Raises OSError.
    """
    windows = sys.platform == "win32"
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", **(environment or {})},
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        process_group=None if windows else 0,
    )


def send(process: subprocess.Popen[bytes], line: bytes) -> bool:
    """Write a line to a child's stdin; False where it does not listen any more."""
    assert process.stdin is not None
    try:
        process.stdin.write(line + b"\n")
        process.stdin.flush()
    except (OSError, ValueError):
        return False
    return True


def kill_tree(process: subprocess.Popen[bytes], patience_seconds: float = 10) -> bool:
    """End a child and all of its descendants at once; False where it is stuck and did not end."""
    if process.poll() is not None:
        return True  # its number may already be another process's
    family = _descendants(process.pid)
    process.kill()
    _kill(family)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(patience_seconds)
    return process.poll() is not None


def close_stdin(process: subprocess.Popen[bytes]) -> None:
    """Close the pipe to a child, whether or not it still listens."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()


def lower_own_priority() -> None:
    """Leave the processor to others first: the page stays quick while all cores train."""
    idle = getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", 10)
    with contextlib.suppress(psutil.Error, OSError):
        psutil.Process().nice(idle)


def listen_to_parent(on_line: Callable[[], None]) -> None:
    """In a child: call ``on_line`` at each line from the parent, and end with the parent.

    The end of the parent, even by force, closes the pipe; then this process and its own children
    end at once, so that no orphan goes on training.
    """

    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # what this process starts gets no hold of the pipe, or waits for it
    os.close(nothing)

    def listen() -> None:
        # os.read takes no lock that the interpreter would wait for when it ends.
        while os.read(pipe, 1024):
            on_line()
        _kill(_descendants(os.getpid()))
        os._exit(_ORPHANED)

    threading.Thread(target=listen, name="parent", daemon=True).start()


def interrupt() -> None:
    """Be for the main thread what Ctrl-C in a terminal is, though a parent in the background may
    have made its children deaf to that (see ``hear_interrupts``)."""
    if sys.platform == "win32":
        _thread.interrupt_main()
    else:  # which also wakes it where it waits
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def hear_interrupts() -> None:
    """In a child: let ``interrupt`` raise KeyboardInterrupt."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
