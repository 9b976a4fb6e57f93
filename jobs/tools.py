"""Commands of the engine that work on finished adapters, each in a child process of its own."""

import contextlib
import json
import logging
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jobs import devices, processes, reasons
from lora_engine.errors import WorkbenchError
from lora_engine.lack_of_memory import says_out_of_memory

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "jobs.run_tool")
NAMES = {
    "ranks": "measuring the ranks",
    "shrink": "shrinking",
    "combine": "combining",
    "export": "exporting",
    "check": "checking the adapter",
    "predict": "answering the file",
}
LOOK_SECONDS = 0.2
"""Between two looks at whether it is to stop."""
_turn = threading.Lock()  # one at a time: each may hold a whole model


class ToolError(WorkbenchError):
    """A command could not do its work."""


def run(
    home: Path,
    arguments: Sequence[str],
    *,
    should_stop: Callable[[], bool] = lambda: False,
    command: Sequence[str] = (),
) -> Iterator[str | dict[str, Any]]:
    """Run ``python -m lora_engine ARGUMENTS --json``; gives what it says it is doing and, last,
    its result. Closing the iterator early ends the child, and so does the end of this process.
    Once ``should_stop`` says so, the command is asked to end with what it has, which only
    ``predict`` can do. ``command`` stands in for the engine.

    Raises:
        ToolError: it failed, was stopped before it had anything, or another one is at work; the
            sentence says why.
    """
    if not _turn.acquire(blocking=False):
        raise ToolError("Another adapter is being worked on: wait until that is done.")
    try:
        yield from _run(home, arguments, should_stop, command or COMMAND)
    finally:
        _turn.release()


def _run(
    home: Path,
    arguments: Sequence[str],
    should_stop: Callable[[], bool],
    command: Sequence[str],
) -> Iterator[str | dict[str, Any]]:
    kills = reasons.MemoryKills()
    try:
        child = processes.spawn(
            [*command, *arguments, "--json", "--data-dir", str(home)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            environment=devices.for_answers(),
        )
    except OSError as error:
        raise ToolError(f"The process could not be started ({error.strerror}).") from error
    said: queue.Queue[str | None] = queue.Queue()
    result: list[bytes] = []
    readers = [
        threading.Thread(target=_read_lines, args=(child, said), daemon=True),
        threading.Thread(target=lambda: result.append(_all(child)), daemon=True),
    ]
    for reader in readers:
        reader.start()
    words: list[str] = []
    stopped = False
    try:
        while (line := _next(said)) is not None:
            if not stopped and should_stop():
                stopped = processes.send(child, b"stop")
            if line:
                words.append(line)
                yield line
        code = child.wait()
    finally:
        processes.kill_tree(child)
        for reader in readers:
            reader.join()
        for pipe in (child.stdin, child.stdout, child.stderr):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()
    if code and stopped:
        raise ToolError("Stopped before anything was done.")
    if code:
        raise ToolError(_reason(arguments[0], code, words, kills))
    yield json.loads(result[0].strip().splitlines()[-1])


def _next(said: "queue.Queue[str | None]") -> str | None:
    """The next line; an empty one where there is none within ``LOOK_SECONDS``, None at the end."""
    try:
        return said.get(timeout=LOOK_SECONDS)
    except queue.Empty:
        return ""


def _all(child: subprocess.Popen[bytes]) -> bytes:
    assert child.stdout is not None
    return child.stdout.read()


def _read_lines(child: subprocess.Popen[bytes], said: "queue.Queue[str | None]") -> None:
    assert child.stderr is not None
    for line in child.stderr:
        said.put(line.decode("utf-8", "replace").strip())
    said.put(None)


def _reason(name: str, code: int, words: list[str], kills: reasons.MemoryKills) -> str:
    doing = NAMES.get(name, name)
    if kills.explain(code) or says_out_of_memory("\n".join(words)):
        return (
            f"The machine ran out of memory while {doing}: wait until training has ended, or "
            "close other programs."
        )
    if code == 1 and words and not any("Traceback" in line for line in words):
        return words[-1]
    log.error("%s ended with %s:\n%s", name, code, "\n".join(words))
    return f"{doing[0].upper()}{doing[1:]} failed; the page's log says why."
