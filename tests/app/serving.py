"""The page in a process of its own, as a person starts it."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).parents[2]
START_SECONDS = 60
T = TypeVar("T")


def until(condition: Callable[[], T | None], seconds: float = 60) -> T:
    """Wait for a condition; give what it gave."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment() -> dict[str, str]:
    """This process's, without what would change the page; the model hub is out of reach."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GRADIO_")}
    return kept | {"HF_ENDPOINT": "http://127.0.0.1:9", "PYTHONUTF8": "1"}


def start_module(module: str, *arguments: str, home: Path) -> subprocess.Popen[str]:
    """``python -m module``; what it says goes to a file in the data folder."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / f"{module}.txt").open("a") as said:
        return subprocess.Popen(
            [sys.executable, "-m", module, "--data-dir", str(home), *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            text=True,
            env=environment(),
        )


def end(process: subprocess.Popen[str]) -> int:
    """Ask a process to end, and wait for it."""
    process.terminate()
    try:
        return process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def answers(port: int) -> bool:
    """Whether the page's address gives HTTP 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@contextmanager
def running_page(home: Path, port: int | None = None) -> Iterator[str]:
    """The page over a data folder; gives its address."""
    port = port or free_port()
    process = start_module("app", "--port", str(port), home=home)
    try:

        def up() -> bool:
            assert process.poll() is None, (home / "app.txt").read_text()
            return answers(port)

        until(up, START_SECONDS)
        yield f"http://127.0.0.1:{port}"
    finally:
        code = end(process)
    assert code == 0 or os.name == "nt"


@contextmanager
def running_worker(home: Path) -> Iterator[None]:
    """The queue's worker over a data folder."""
    process = start_module("jobs", home=home)
    try:
        yield
    finally:
        end(process)
