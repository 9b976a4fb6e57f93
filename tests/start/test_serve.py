"""How start.py starts page and worker, and how they end."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.start.project import free_port

POSIX_ONLY = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
ONCE_THE_PAGE_IS_UP = """
import os, time
while not os.path.exists("page asked"): time.sleep(0.05)
"""
DYING = "import sys; sys.exit('the worker said this')"
KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("worker up", flush=True)
while True: time.sleep(0.05)
"""


def test_a_port_that_is_taken_is_told_before_anything_is_installed(
    start: ModuleType, steps: list[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(SystemExit, match=f"Port {port} is taken.*--port {port + 1}"):
            start.main(["--port", str(port)])
    assert steps == []


def test_the_port_is_held_while_installing(start: ModuleType) -> None:
    port = free_port()
    with start.claim("127.0.0.1", port), pytest.raises(SystemExit, match="is taken"):
        start.claim("127.0.0.1", port)
    start.claim("127.0.0.1", port).close()


@pytest.mark.parametrize(
    ("host", "port", "sentence"),
    [
        ("127.0.0.1", 99_999, "Port 99999 is none"),
        ("127.0.0.1", 0, "Port 0 is none"),
        ("192.0.2.1", 7860, r"cannot listen on host 192\.0\.2\.1, port 7860"),
    ],
)
def test_an_address_that_is_none_is_told(
    start: ModuleType, host: str, port: int, sentence: str
) -> None:
    with pytest.raises(SystemExit, match=sentence):
        start.claim(host, port)


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "http://127.0.0.1:7860"),
        ("0.0.0.0", "http://127.0.0.1:7860"),
        ("::1", "http://[::1]:7860"),
        ("::", "http://[::1]:7860"),
        ("my-computer", "http://my-computer:7860"),
    ],
)
def test_the_address_can_be_typed_into_a_browser(start: ModuleType, host: str, shown: str) -> None:
    assert start.address(host, 7860) == shown


@pytest.mark.parametrize(
    ("platform", "environment", "seen"),
    [
        ("linux", {}, False),
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("linux", {"DISPLAY": ":10", "SSH_CONNECTION": "a b"}, False),
        ("linux", {"DISPLAY": ":0", "CI": "true"}, False),
        ("darwin", {}, True),
        ("darwin", {"SSH_CONNECTION": "a b"}, False),
    ],
)
def test_a_browser_is_opened_only_where_it_is_seen(
    start: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    platform: str,
    environment: dict[str, str],
    seen: bool,
) -> None:
    monkeypatch.setattr(start.sys, "platform", platform)
    monkeypatch.setattr(start, "WINDOWS", False)
    monkeypatch.setattr(start.os, "environ", environment)
    assert start.has_screen() is seen


def serving(start: ModuleType, *arguments: str, grace: float = 20) -> subprocess.Popen[str]:
    """Start the project's start.py as a person would, its environment made already."""
    code = (
        "import sys, start\n"
        f"start.GRACE_SECONDS = {grace}\n"
        "start.has_screen = lambda: True\n"
        "start.webbrowser.open = lambda url: print('browser at', url, flush=True)\n"
        "sys.exit(start.main(sys.argv[1:]))\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=start.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_until(process: subprocess.Popen[str], *wanted: str) -> list[str]:
    """The lines of stdout until each of ``wanted`` was in one; it ends early with the process."""
    assert process.stdout is not None
    lines: list[str] = []
    while not all(any(text in line for line in lines) for text in wanted):
        line = process.stdout.readline()
        assert line, f"ended after {lines}"
        lines.append(line)
    return lines


@POSIX_ONLY
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_page_and_worker_start_and_end_together(
    installed: ModuleType, tmp_path: Path, ending: signal.Signals
) -> None:
    port = free_port()
    with serving(installed, "--port", str(port), "--data-dir", str(tmp_path / "data")) as process:
        url = f"http://127.0.0.1:{port}"
        read_until(process, f"LoRA Workbench is ready: {url} ", f"browser at {url}", "worker up")
        process.send_signal(ending)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert errors == ""
    assert (installed.ROOT / "page ended").read_text() == str(tmp_path / "data")
    assert (installed.ROOT / "worker ended").read_text() == f"--data-dir {tmp_path / 'data'}"


@POSIX_ONLY
def test_no_browser_is_opened_where_none_is_wanted(installed: ModuleType) -> None:
    with serving(installed, "--port", str(free_port()), "--no-browser") as process:
        read_until(process, "is ready", "worker up")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    assert "browser at" not in output


@POSIX_ONLY
@pytest.mark.parametrize(
    ("worker", "reason"),
    [
        (DYING, "The worker ended with exit status 1, so LoRA Workbench ends"),
        (KILLED, "The worker was killed by signal 9, so LoRA Workbench ends"),
    ],
)
def test_when_one_ends_the_other_is_ended_and_the_reason_told(
    installed: ModuleType, worker: str, reason: str
) -> None:
    dying = ONCE_THE_PAGE_IS_UP + worker
    (installed.ROOT / "jobs" / "__main__.py").write_text(dying)
    with serving(installed, "--port", str(free_port())) as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert reason in errors
    assert ("the worker said this" in errors) is (worker == DYING)
    assert "Traceback" not in errors
    assert (installed.ROOT / "page ended").exists()


@POSIX_ONLY
def test_what_does_not_end_by_itself_is_ended_by_force(installed: ModuleType) -> None:
    (installed.ROOT / "jobs" / "__main__.py").write_text(STUBBORN)
    with serving(installed, "--port", str(free_port()), grace=0.3) as process:
        read_until(process, "worker up", "is ready")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert errors == "Some of it is still busy and is ended by force.\n"
