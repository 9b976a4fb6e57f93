"""Records: quoted cells, and stray quotes that must not swallow rows."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_engine.data import records
from lora_engine.data.records import Dialect, Records


def read(text: str, dialect: Dialect = Dialect(","), width: int = 0) -> list[tuple[int, list[str]]]:  # noqa: B008
    reader = Records(io.StringIO(text, newline=""), dialect)
    reader.width = width
    return list(reader)


def test_lines_are_those_on_which_a_record_begins() -> None:
    text = 'a,b\n1,"two\nlines"\n"three\n\nlines",2\n3,4'
    assert read(text) == [
        (1, ["a", "b"]),
        (2, ["1", "two\nlines"]),
        (4, ["three\n\nlines", "2"]),
        (7, ["3", "4"]),
    ]


def test_line_ends_of_all_systems_are_one_line_end() -> None:
    assert read("a,b\r\n1,2\r3,4\n") == [(1, ["a", "b"]), (2, ["1", "2"]), (3, ["3", "4"])]


def test_an_empty_line_has_no_cells() -> None:
    assert read("a\n\nb") == [(1, ["a"]), (2, []), (3, ["b"])]


def test_a_quote_that_is_never_closed_costs_no_other_row() -> None:
    reader = Records(['a,"b\n', "c,d\n", 'e,"f,g"\n'], Dialect(","))
    assert list(reader) == [(1, ["a", '"b']), (2, ["c", "d"]), (3, ["e", "f,g"])]
    assert reader.stray_quotes == 1


def test_text_after_a_closing_quote_is_taken_as_it_stands() -> None:
    assert read('a,"b" c\nd,e\n') == [(1, ["a", '"b" c']), (2, ["d", "e"])]


def test_a_quote_that_swallows_a_row_is_noticed_by_the_width() -> None:
    text = 'x,y,z\n1,"2,3\n4,5,6"\n'
    assert read(text, width=3) == [
        (1, ["x", "y", "z"]),
        (2, ["1", '"2', "3"]),
        (3, ["4", "5", '6"']),
    ]


def test_unquoted_tables_keep_their_quotes() -> None:
    assert read('"a"\t"b\n', Dialect("\t", quoted=False)) == [(1, ['"a"', '"b'])]


def test_a_runaway_quote_is_given_up_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "LONGEST_RECORD", 50)
    text = 'a,"b\n' + "c,d\n" * 100 + 'e,"f"\n'
    assert len(read(text)) == 102


def test_many_stray_quotes_do_not_take_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "RESCAN_BUDGET", 1000)
    found = read('a","\n' * 500)
    assert len(found) == 500
    assert {tuple(cells) for _, cells in found} == {('a"', '"')}


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@given(
    table=st.lists(st.lists(CELL, min_size=2, max_size=4), min_size=1, max_size=6),
    delimiter=st.sampled_from([",", ";", "\t"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_whatever_the_csv_module_writes_is_read_back(
    table: list[list[str]], delimiter: str, quoting: int, end: str
) -> None:
    text = io.StringIO(newline="")
    # the csv module quotes a cell with a line break only where it knows the break as a line end
    cells = [[cell.replace("\r", "") for cell in row] for row in table]
    csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end).writerows(cells)
    assert [row for _, row in read(text.getvalue(), Dialect(delimiter))] == cells


@given(text=st.text(alphabet='ab",\n\r'))
def test_no_line_is_ever_lost(text: str) -> None:
    numbers = [number for number, _ in read(text, width=2)]
    assert numbers == sorted(set(numbers))
    joined = "".join("".join(cells) for _, cells in read(text, width=2))
    assert sorted(joined.replace('"', "").replace("\n", "").replace("\r", "").replace(",", "")) == (
        sorted(character for character in text if character in "ab")
    )
