"""Start LoRA Workbench, or test it, with nothing but Python 3.11 or newer.

python3 start.py [--host H] [--port P] [--data-dir DIR] [--no-browser]
python3 start.py test [options of pytest]
"""

import argparse
import contextlib
import errno
import hashlib
import http.client
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import webbrowser
from pathlib import Path

if sys.version_info < (3, 11):  # the whole file must parse, and run this far, on Python 3.6
    sys.exit(
        "LoRA Workbench needs Python 3.11 or newer, and this is Python %d.%d: install a newer "
        "Python and start with that one, for example: python3.11 start.py" % sys.version_info[:2]
    )

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
CONSTRAINTS = ROOT / "constraints.txt"
WINDOWS = os.name == "nt"
GRACE_SECONDS = 20  # what page and worker get to end by themselves
ADDED = {"liger": "liger_kernel", "quantized": "bitsandbytes"}
"""Extras that a person may have added, and how each is seen."""
CHECKS = (  # what "test" runs, in this order; the rest of its command line goes to the last
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("lint-imports",),
    ("pytest", "-n", "auto"),
)
TROUBLES = (  # how pip, venv and the systems say it, and what the person can do
    (
        r"No space left on device|Errno 28\b|not enough space on the disk|WinError 112",
        "The disk is full. The installation takes 2 to 8 GB in {root}, and as much for a moment "
        "in the folder for temporary files: make room, then start again.",
    ),
    (
        r"Retrying \(|NewConnectionError|ConnectionError|ConnectTimeout|ReadTimeout|ProxyError"
        r"|name resolution|getaddrinfo failed|Network is unreachable|SSLError|from versions: none",
        "The Python package index cannot be reached: check the network connection (and the proxy, "
        "where there is one), then start again.",
    ),
    (
        r"Permission denied|Errno 13\b|Read-only file system|Access is denied",
        "This account may not write to {root}: move the project to your home folder, "
        "then start again.",
    ),
    (r"", "The installation failed; the reason stands above. Start again to try it again."),
)


def main(arguments):
    """Install what is missing, then serve or test; returns the exit status."""
    for name in ("SIGTERM", "SIGHUP"):  # ended from outside or by closing the terminal: as Ctrl-C
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    if arguments[:1] == ["test"]:
        install(for_tests=True)
        return test(arguments[1:])
    parser = argparse.ArgumentParser(prog="start.py", description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1", help="address that the page listens on")
    parser.add_argument("--port", type=int, default=7860, help="port that the page listens on")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME",
        help="another name under which browsers may ask for the page, such as a proxy's",
    )  # fmt: skip
    parser.add_argument("--data-dir", type=Path, help="where models, data sets and runs are kept")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    options = parser.parse_args(arguments)
    with claim(options.host, options.port):  # held while installing, so that nobody starts twice
        install()
    return serve(options)


def claim(host, port):
    """A socket that holds the page's port until the page takes it over."""
    if not 0 < port < 65536:
        sys.exit(f"Port {port} is none: choose one from 1024 to 65535, such as --port 7860.")
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            sys.exit(f"The page cannot listen on host {host}, port {port} ({error}).")
        sys.exit(
            f"Port {port} is taken. If that is LoRA Workbench, open {address(host, port)}; if not, "
            f"choose another port: python3 start.py --port {port + 1}"
        )


def install(for_tests=False):
    """Bring .venv to the pinned versions, unless its stamp says that they are there."""
    place = digest(str(ROOT).encode(), sys.base_prefix.encode(), b"%d.%d" % sys.version_info[:2])
    pins = digest(CONSTRAINTS.read_bytes(), (ROOT / "pyproject.toml").read_bytes())
    stamp = VENV / "installed"
    found = stamp.read_text().split() if stamp.exists() and program("python").exists() else []
    if found[:2] == [place, pins] and (not for_tests or "test" in found):
        return
    if not all(importlib.util.find_spec(module) for module in ("venv", "ensurepip")):
        sys.exit(
            "This Python cannot make environments, because its venv module is missing. "
            "On Debian and Ubuntu: sudo apt install python%d.%d-venv" % sys.version_info[:2]
        )
    print("Installing what LoRA Workbench needs: some minutes, and only once.", flush=True)
    extras = ["test"] if for_tests else []
    extras += [name for name, package in ADDED.items() if has_package(package)]
    project = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
    pip = (str(program("python")), "-m", "pip", "install", "--disable-pip-version-check")
    pinned = (*pip, "-c", str(CONSTRAINTS), "--build-constraint", str(CONSTRAINTS))
    try:
        stamp.unlink(missing_ok=True)
        if found[:1] != [place]:  # none yet, half a one, or one for another folder or Python
            step(sys.executable, "-m", "venv", "--clear", str(VENV))
        step(*pip, "--quiet", "--upgrade", "-c", str(CONSTRAINTS), "pip")
        step(*pinned, "-e", project)
        stamp.write_text(f"{place} {pins} {'test' if for_tests else ''}")
    except OSError as error:
        explain(str(error))


def has_package(name):
    """Whether .venv has a package, as it is before anything is done."""
    places = ("lib/python*/site-packages", "Lib/site-packages")
    return any(found for place in places for found in VENV.glob(f"{place}/{name}"))


def step(*command):
    """Run one step of the installation, showing what it says; explain its failure."""
    said = []
    with subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, encoding="utf-8", errors="replace"
    ) as process:
        try:
            for line in process.stderr:
                sys.stderr.write(line)
                said.append(line)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        explain("".join(said))


def explain(said):
    """End with the sentence for what went wrong with the installation."""
    if shutil.disk_usage(ROOT).free < 50_000_000:  # venv hides why it failed
        said += os.strerror(errno.ENOSPC)
    sys.exit(next(t for pattern, t in TROUBLES if re.search(pattern, said)).format(root=ROOT))


def test(arguments):
    """Run every check, all of them even where one fails."""
    failed = []
    for check in CHECKS:
        print("==", *check, flush=True)
        more = arguments if check is CHECKS[-1] else ()
        if subprocess.call([str(program(check[0])), *check[1:], *more], cwd=ROOT):
            failed.append(" ".join(check))
    if failed:
        print("Failed: " + ", ".join(failed), file=sys.stderr)
    return 1 if failed else 0


def serve(options):
    """Run page and worker until Ctrl-C, or until one of them ends by itself."""
    data_dir = options.data_dir and ("--data-dir", str(options.data_dir.expanduser().resolve()))
    url, shown, children = address(options.host, options.port), False, {}
    try:
        names = [f"--allow-host={name}" for name in options.allow_host]
        listen = ("--host", options.host, "--port", str(options.port), *names)
        children["page"] = launch("app", *listen, *(data_dir or ()))
        children["worker"] = launch("jobs", *(data_dir or ()))
        while all(child.poll() is None for child in children.values()):
            if not shown and answers(url):
                shown = True
                print(f"LoRA Workbench is ready: {url} (Ctrl-C ends it)", flush=True)
                if not options.no_browser and has_screen():
                    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
            time.sleep(0.2)
    except KeyboardInterrupt:
        print("\nEnding LoRA Workbench.", flush=True)
        return 0
    finally:
        gone = [(name, c.returncode) for name, c in children.items() if c.returncode is not None]
        end(children.values())
    for name, code in gone:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit status {code}"
        print(
            f"The {name} {how}, so LoRA Workbench ends; what it said last stands above.",
            file=sys.stderr,
        )
    return 1


def launch(package, *arguments):
    """Start a package in a process group of its own, so that Ctrl-C reaches only this process."""
    group = {"start_new_session": True}
    if WINDOWS:
        group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return subprocess.Popen([str(program("python")), "-m", package, *arguments], cwd=ROOT, **group)


def end(children):
    """Ask the children to end, wait, and kill what is left of them and of their own children."""
    deadline = time.monotonic() + GRACE_SECONDS
    try:
        for child in children:
            if child.poll() is None:
                child.send_signal(signal.CTRL_BREAK_EVENT if WINDOWS else signal.SIGTERM)
        for child in children:
            child.wait(max(0.1, deadline - time.monotonic()))
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        print("Some of it is still busy and is ended by force.", file=sys.stderr)
    finally:
        for child in children:
            if WINDOWS:
                command = ("taskkill", "/F", "/T", "/PID", str(child.pid))
                subprocess.run(command, capture_output=True, check=False)
            else:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def answers(url):
    """Whether the page is there."""
    try:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return direct.open(url, timeout=2).status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False


def has_screen():
    """Whether a browser opened from here would be seen by the person."""
    if "SSH_CONNECTION" in os.environ or "CI" in os.environ:
        return False
    shows = WINDOWS or sys.platform == "darwin"
    return shows or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def address(host, port):
    """What to type into a browser on this machine."""
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def program(name):
    """The path of a program of .venv."""
    return VENV / "Scripts" / f"{name}.exe" if WINDOWS else VENV / "bin" / name


def digest(*parts):
    """One hash of all parts."""
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("\nStopped. Start again to go on.")
