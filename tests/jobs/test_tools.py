"""The engine's commands on finished adapters, each in a child process."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from jobs import tools
from tests.jobs.queue_helpers import is_gone, unix_only, until

CHILD = """
import sys
what, data = sys.argv[1], sys.argv[3:]
assert data[0] == "--data-dir" or "--data-dir" in sys.argv
if what == "ranks":
    print("Looking", file=sys.stderr)
    print('noise\\n{"r": 4}')
elif what == "refused":
    print("There is no adapter at here.", file=sys.stderr)
    sys.exit(1)
elif what == "memory":
    print("torch.OutOfMemoryError: tried", file=sys.stderr)
    sys.exit(1)
elif what == "long":
    import time
    print("Working", file=sys.stderr, flush=True)
    time.sleep(600)
else:
    raise ValueError("boom")
"""


def steps(home: Path, *arguments: str) -> list[object]:
    return list(tools.run(home, arguments, command=(sys.executable, "-c", CHILD)))


def test_what_is_done_comes_first_and_the_result_last(tmp_path: Path) -> None:
    assert steps(tmp_path, "ranks") == ["Looking", {"r": 4}]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("refused", "There is no adapter at here."),
        ("memory", "ran out of memory"),
        ("shrink", "Shrinking failed; the page's log says why."),
    ],
)
def test_a_failure_is_one_sentence(tmp_path: Path, what: str, said: str) -> None:
    with pytest.raises(tools.ToolError, match=said) as refused:
        steps(tmp_path, what)
    assert "Traceback" not in str(refused.value)


def test_one_at_a_time_and_an_end_for_what_nobody_waits_for(tmp_path: Path) -> None:
    first = tools.run(tmp_path, ["long"], command=(sys.executable, "-c", CHILD))
    assert next(first) == "Working"
    with pytest.raises(tools.ToolError, match="wait until that is done"):
        steps(tmp_path, "ranks")
    first.close()  # type: ignore[attr-defined]
    assert steps(tmp_path, "ranks")[-1] == {"r": 4}


STOPPING = """
import sys
from jobs import processes
import threading
processes.hear_interrupts()
processes.listen_to_parent(processes.interrupt)
try:
    print("Answered 1 of 9", file=sys.stderr, flush=True)
    threading.Event().wait(60)
except KeyboardInterrupt:
    if sys.argv[1] == "early":
        sys.exit(130)
    print('{"rows": 1}')
"""


def test_a_command_ends_with_what_it_has(tmp_path: Path) -> None:
    command = (sys.executable, "-c", STOPPING)

    def stopping(what: str) -> list[object]:
        heard: list[object] = []
        going_on = tools.run(tmp_path, [what], should_stop=lambda: bool(heard), command=command)
        for said in going_on:
            heard.append(said)  # noqa: PERF402  one by one: the first one is the sign to stop
        return heard

    assert stopping("predict") == ["Answered 1 of 9", {"rows": 1}]
    with pytest.raises(tools.ToolError, match="Stopped before anything was done"):
        stopping("early")


PAGE = """
import sys
from pathlib import Path
from jobs import tools
home, settings = sys.argv[1:]
arguments = ["inspect", "--model=smollm2-135m-instruct", f"--config={settings}"]
list(tools.run(Path(home), arguments))
"""


@unix_only
def test_the_engines_command_ends_with_a_killed_page(tmp_path: Path) -> None:
    """The command waits at a pipe that nobody writes to, as it would be at work for long."""
    os.mkfifo(tmp_path / "settings.json")
    page = subprocess.Popen([sys.executable, "-c", PAGE, tmp_path, tmp_path / "settings.json"])
    family = until(lambda: psutil.Process(page.pid).children(recursive=True))
    try:
        page.kill()
        page.wait()
        until(lambda: all(is_gone(child.pid) for child in family), seconds=15)
    finally:
        for child in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
