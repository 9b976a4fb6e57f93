"""start.py: what it installs and when, what it says when it cannot, and how it ends."""

import ast
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
POSIX_ONLY = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")

PAGE = """
import argparse, http.server, signal, sys
parser = argparse.ArgumentParser()
parser.add_argument("--host"); parser.add_argument("--port", type=int)
parser.add_argument("--data-dir")
options = parser.parse_args()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        open("page asked", "w").close()
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
def leave(*_):
    open("page ended", "w").write(str(options.data_dir)); sys.exit()
signal.signal(signal.SIGTERM, leave)
http.server.HTTPServer((options.host, options.port), Handler).serve_forever()
"""
WORKER = """
import signal, sys, time
def leave(*_):
    open("worker ended", "w").write(" ".join(sys.argv[1:])); sys.exit()
signal.signal(signal.SIGTERM, leave)
print("worker up", flush=True)
while True: time.sleep(0.05)
"""
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


@pytest.fixture
def start(tmp_path: Path) -> ModuleType:
    """start.py, copied to a folder of its own with packages that do nothing heavy."""
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(ROOT / "start.py", folder)
    (folder / "constraints.txt").write_text("pip==26.3\n")
    (folder / "pyproject.toml").write_text("[project]\n")
    for package, source in (("app", PAGE), ("jobs", WORKER)):
        (folder / package).mkdir()
        (folder / package / "__init__.py").touch()
        (folder / package / "__main__.py").write_text(source)
    return load(folder / "start.py")


@pytest.fixture
def steps(start: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that an installation runs; making the environment makes its python."""
    ran: list[str] = []

    def step(*command: str) -> None:
        ran.append(" ".join(command[1:]).replace(str(start.ROOT), "ROOT"))
        if "venv" in command:
            shutil.rmtree(start.VENV, ignore_errors=True)
            python = start.program("python")
            python.parent.mkdir(parents=True)
            python.symlink_to(sys.executable)

    monkeypatch.setattr(start, "step", step)
    return ran


@pytest.fixture
def installed(start: ModuleType, steps: list[str]) -> ModuleType:
    """start.py with its environment made; ``steps`` is empty again."""
    start.install()
    steps.clear()
    return start


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("start_copy", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_the_file_parses_on_pythons_that_are_too_old() -> None:
    ast.parse((ROOT / "start.py").read_text("utf-8"), feature_version=(3, 6))


def test_a_python_that_is_too_old_is_told() -> None:
    old = (
        "import sys, runpy; sys.version_info = (3, 9, 1, 'final', 0); "
        "runpy.run_path('start.py', run_name='__main__')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", old], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith(
        "LoRA Workbench needs Python 3.11 or newer, and this is Python 3.9"
    )
    assert ended.stderr.count("\n") == 1


def test_a_first_start_makes_the_environment_and_a_second_does_nothing(
    start: ModuleType, steps: list[str]
) -> None:
    start.install()
    pins = "-c ROOT/constraints.txt --build-constraint ROOT/constraints.txt"
    pip = "-m pip install --disable-pip-version-check"
    assert [step.replace("\\", "/") for step in steps] == [
        "-m venv --clear ROOT/.venv",
        f"{pip} --quiet --upgrade -c ROOT/constraints.txt pip",
        f"{pip} {pins} -e ROOT",
    ]
    steps.clear()
    start.install()
    assert steps == []


def test_the_test_extras_come_into_the_same_environment(
    installed: ModuleType, steps: list[str]
) -> None:
    installed.install(for_tests=True)
    assert len(steps) == 2
    assert steps[-1].endswith("-e ROOT[test]")
    steps.clear()
    installed.install(for_tests=True)
    installed.install()
    assert steps == []


@pytest.mark.parametrize("file", ["constraints.txt", "pyproject.toml"])
def test_new_pins_are_installed_into_the_old_environment(
    installed: ModuleType, steps: list[str], file: str
) -> None:
    with (installed.ROOT / file).open("a") as opened:
        opened.write("# changed\n")
    installed.install()
    assert not any("venv --clear" in step for step in steps)
    assert steps[-1].endswith("-e ROOT")


@pytest.mark.parametrize("broken_at", [0, 1, 2])
def test_an_interrupted_installation_is_begun_anew(
    start: ModuleType, steps: list[str], monkeypatch: pytest.MonkeyPatch, broken_at: int
) -> None:
    def interrupted(*command: str) -> None:
        if len(steps) == broken_at:
            raise KeyboardInterrupt
        whole(*command)

    whole = start.step
    monkeypatch.setattr(start, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start.install()
    steps.clear()
    monkeypatch.setattr(start, "step", whole)
    start.install()
    assert "venv --clear" in steps[0]
    assert len(steps) == 3


@pytest.mark.parametrize("lost", ["stamp", "python"])
def test_an_environment_that_lost_something_is_begun_anew(
    installed: ModuleType, steps: list[str], lost: str
) -> None:
    stamp = installed.VENV / "installed"
    (stamp if lost == "stamp" else installed.program("python")).unlink()
    installed.install()
    assert "venv --clear" in steps[0]


def test_a_project_that_was_moved_gets_a_new_environment(
    installed: ModuleType, steps: list[str]
) -> None:
    moved = installed.ROOT.rename(installed.ROOT.with_name("moved"))
    here = load(moved / "start.py")
    here.step = installed.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(installed, "ROOT", here.ROOT)
        patch.setattr(installed, "VENV", here.VENV)
        here.install()
    assert "venv --clear" in steps[0]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            "ERROR: Could not install: OSError: [Errno 28] No space left on device",
            "The disk is full",
        ),
        ("OSError: [WinError 112] There is not enough space on the disk", "The disk is full"),
        ("WARNING: Retrying (Retry(total=4)) after connection broken by 'New", "cannot be reached"),
        ("ERROR: No version satisfies pip==26.3 (from versions: none)", "cannot be reached"),
        ("PermissionError: [Errno 13] Permission denied: '.venv'", "may not write to"),
        ("ERROR: something that nobody thought of", "the reason stands above"),
    ],
)
def test_an_installation_that_fails_is_explained(
    start: ModuleType, capfd: pytest.CaptureFixture[str], said: str, sentence: str
) -> None:
    with pytest.raises(SystemExit, match=sentence) as caught:
        start.step(sys.executable, "-c", f"import sys; sys.exit({said!r})")
    assert "\n" not in str(caught.value.code)
    assert said in capfd.readouterr().err


def test_a_failed_installation_leaves_no_stamp(
    start: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start.sys, "executable", str(start.ROOT / "no python"))
    with pytest.raises(SystemExit, match="the reason stands above"):
        start.install()
    assert not (start.VENV / "installed").exists()


def test_a_python_without_venv_is_told(
    start: ModuleType, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start.importlib.util, "find_spec", lambda name: name != "ensurepip")
    with pytest.raises(SystemExit, match=r"sudo apt install python3\.\d+-venv"):
        start.install()
    assert steps == []


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


def test_every_check_runs_even_where_one_fails(
    installed: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    fails, tells = "import sys; sys.exit(3)", "import sys; print(sys.argv[1:])"
    monkeypatch.setattr(installed, "CHECKS", (("python", "-c", fails), ("python", "-c", tells)))
    assert installed.test(["-k", "some"]) == 1
    said = capfd.readouterr()
    assert "['-k', 'some']" in said.out
    assert said.err.startswith("Failed: python -c")
    monkeypatch.setattr(installed, "CHECKS", (("python", "-c", tells),))
    assert installed.test([]) == 0


def test_the_last_check_is_the_one_that_takes_options() -> None:
    assert load(ROOT / "start.py").CHECKS[-1] == ("pytest",)


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    rows = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in rows}


def test_everything_that_is_installed_is_pinned_to_what_runs_here() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    waiting = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    pinned, seen = pins(), set()
    while waiting:
        needed = Requirement(waiting.pop())
        name = canonicalize_name(needed.name)
        if (name, key := frozenset(needed.extras)) in seen:
            continue
        seen.add((name, key))
        found = metadata.distribution(name)
        assert pinned.get(name) == found.version.partition("+")[0], name
        for text in found.requires or ():
            marker = Requirement(text).marker
            if marker is None or any(marker.evaluate({"extra": e}) for e in ("", *key)):
                waiting.append(text)
    assert len(seen) > 80


def test_the_pins_name_versions_only() -> None:
    assert pins()["torch"] == "2.13.0"
    for name, version in pins().items():
        assert re.fullmatch(r"\d+(\.\d+)*", version), name
