"""The engine's commands on finished adapters, each in a child process."""

import sys
from pathlib import Path

import pytest

from jobs import tools

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
