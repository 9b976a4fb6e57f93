"""Reading the end of a log that any program may have written to."""

import re
from pathlib import Path

_LONGEST_TAIL = 1_000_000
"""Bytes read from the end of a log at most."""
_TIME = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(,\d+)? ")
_NOISE = ("Traceback ", "During handling of", "The above exception", "Current thread", "Thread 0x")


def tail(path: Path, lines: int = 200) -> str:
    """The last lines of a log, whatever its encoding; empty where there is none.

    Of a progress bar that redraws its line, the last drawing is given.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            start = max(0, size - _LONGEST_TAIL)
            file.seek(start)
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    rows = text.replace("\r\n", "\n").split("\n")
    if start:
        del rows[0]  # cut somewhere in its middle
    if rows and not rows[-1]:
        rows.pop()
    return "\n".join(row.rstrip("\r").rpartition("\r")[2] for row in rows[-lines:])


def last_words(path: Path, lines: int = 2) -> str:
    """The last things a dead process said, on one line, without times and tracebacks."""
    spoken = [
        _TIME.sub("", row).strip()
        for row in tail(path, 60).split("\n")
        if row.strip() and not row.startswith((" ", "\t", *_NOISE))
    ]
    return " / ".join(word[:200] for word in spoken[-lines:])
