"""The end of a log, whatever is in it."""

import pytest

from jobs import logs


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.txt"


def test_no_log_yet(path):
    assert logs.tail(path) == ""
    assert logs.last_words(path) == ""


def test_the_last_lines_in_any_encoding(path):
    path.write_bytes(b"eins\nzwei\r\n" + b"\xff\xfedrei\n" + "四".encode())
    assert logs.tail(path) == "eins\nzwei\n\ufffd\ufffddrei\n四"
    assert logs.tail(path, 2) == "\ufffd\ufffddrei\n四"


def test_of_a_progress_bar_only_the_last_drawing(path):
    path.write_bytes(b"  0%|\r 50%|\r100%|\nnext\r\n")
    assert logs.tail(path) == "100%|\nnext"


def test_a_huge_log_is_read_from_its_end(path, monkeypatch):
    monkeypatch.setattr(logs, "_LONGEST_TAIL", 20)
    path.write_text("x" * 100 + "\n" + "y" * 9 + "\nlast\n")
    assert logs.tail(path) == "y" * 9 + "\nlast"


def test_last_words_hold_no_traceback(path):
    path.write_text(
        "2026-01-01 10:00:00,123 Loading the model\n"
        "Traceback (most recent call last):\n"
        '  File "secret.py", line 3, in <module>\n'
        "    1 / 0\n"
        "ZeroDivisionError: division by zero\n\n"
    )
    assert logs.last_words(path) == "Loading the model / ZeroDivisionError: division by zero"
