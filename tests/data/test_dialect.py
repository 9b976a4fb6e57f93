"""Delimiter, quotes and header, from the first characters of a table."""

import pytest

from lora_engine.data.dialect import detect
from lora_engine.data.records import NO_DELIMITER, Dialect


@pytest.mark.parametrize(
    ("sample", "suffix", "dialect", "has_header"),
    [
        ("prompt,completion\nHi,Hello\n", ".csv", Dialect(","), True),
        ("prompt;completion\nHi;Hello, you\n", ".csv", Dialect(";"), True),
        ("prompt\tcompletion\nHi, you\tHello, me\n", ".csv", Dialect("\t"), True),
        ("a;b;c\n1;1,5;2,5\n2;3,5;4,5\n", ".csv", Dialect(";"), True),
        ("text\nTo be, or not to be\nWell, well\n", ".csv", Dialect(NO_DELIMITER), True),
        ("Prose, with commas.\nAnd more.\n", ".txt", Dialect(NO_DELIMITER, quoted=False), False),
        ('a,b\n1,"x, y"\n2,"z\nw"\n', ".csv", Dialect(","), True),
        ('a\tb\n1\t"x" he said\n2\t"never closed\n', ".txt", Dialect("\t", quoted=False), True),
        ('prompt, answer\nHi, "Hello, you"\n', ".csv", Dialect(",", skip_spaces=True), True),
        ("x : 1 | y : 2||A sentence.\n" * 3, ".txt", Dialect("||", quoted=False), False),
        ("prompt,completion\nragged\na,b,c\n", ".csv", Dialect(","), True),
        ("How are you?,I am fine.\nWho are you?,A keeper.\n", ".csv", Dialect(","), False),
        ("1,great hotel\n0,bad hotel\n", ".csv", Dialect(","), False),
        ("When,What do you ask?\n2026-11-01,Why?\n2026-11-02,How?\n", ".csv", Dialect(","), True),
        ("问题,回答\n你好吗？,我很好。\n", ".csv", Dialect(","), True),
        ("你好吗？,我很好。\n你是谁？,我是看守。\n", ".csv", Dialect(","), False),
    ],
)
def test_a_layout_is_recognised(
    sample: str, suffix: str, dialect: Dialect, has_header: bool
) -> None:
    layout = detect(sample, complete=True, suffix=suffix)
    assert layout.dialect == dialect
    assert layout.has_header == has_header


def test_what_is_longer_than_a_number_is_none() -> None:
    layout = detect(f"a,b\n1{' ' * 100_000}x,2\n", complete=True, suffix=".csv")
    assert layout.has_header


def test_a_sample_that_ends_inside_a_cell_is_no_stray_quote() -> None:
    whole = "prompt,completion\n" + 'Hi,"Hello,\nyou"\n' * 50
    layout = detect(whole[:-20], complete=False, suffix=".csv")
    assert layout.dialect == Dialect(",")
