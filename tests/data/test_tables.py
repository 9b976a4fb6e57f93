"""Tables: header, width, empty lines and damaged bytes."""

from pathlib import Path

import pytest

from lora_engine.data.lines import Row, Source
from lora_engine.data.read import open_source
from lora_engine.errors import DataError


def read(tmp_path: Path, data: str | bytes, name: str = "file.csv") -> tuple[Source, list[Row]]:
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    with open_source(path) as source:
        return source, list(source.rows)


def test_rows_come_with_their_lines(tmp_path: Path) -> None:
    source, rows = read(tmp_path, 'prompt,completion\nHi,"Hello\nyou"\nBye,See you\n')
    assert source.columns == ["prompt", "completion"]
    assert (source.format, source.encoding, source.delimiter) == ("csv", "utf-8", ",")
    assert rows == [Row(2, ["Hi", "Hello\nyou"]), Row(4, ["Bye", "See you"])]
    assert source.notes == []


def test_a_first_line_that_says_the_delimiter_is_no_row(tmp_path: Path) -> None:
    source, rows = read(tmp_path, "sep=;\r\nprompt;completion\r\nHi, you;Hello, me, and all\r\n")
    assert (source.delimiter, source.columns) == (";", ["prompt", "completion"])
    assert rows == [Row(3, ["Hi, you", "Hello, me, and all"])]


def test_lines_that_a_quotation_may_have_joined_are_told(tmp_path: Path) -> None:
    lines = ['"I came.\t0', "I saw.\t1", 'I conquered."\t0', "So he said.\t1"]
    source, rows = read(tmp_path, "\n".join(["sentence\tlabel", *lines]) + "\n", "x.tsv")
    assert [row.line for row in rows] == [2, 5]
    [note] = source.notes
    assert note.startswith("Lines 2 to 4 are read as one row")
    source, rows = read(tmp_path, 'sentence\tlabel\n"one\ntwo"\t0\nthree\t1\n', "x.tsv")
    assert ([row.line for row in rows], source.notes) == ([2, 4], [])


def test_a_ragged_line_is_a_problem_and_shifts_nothing(tmp_path: Path) -> None:
    _, rows = read(tmp_path, "prompt,completion\na,b\nc\nd,e,f\ng,h\n")
    assert [row.cells for row in rows] == [["a", "b"], (), (), ["g", "h"]]
    assert rows[1].problem == ("missing", "Line 3 has 1 cell, but the header has 2.")
    assert rows[2].problem == ("broken", "Line 4 has 3 cells, but the header has 2.")


def test_empty_lines_between_rows_are_told_once(tmp_path: Path) -> None:
    _, rows = read(tmp_path, "\nprompt,completion\na,b\n\nc,d\n\n\ne,f\n\n\n")
    assert [row.problem for row in rows if row.problem] == [
        ("empty", "Line 4 is empty."),
        ("empty", "Line 6 is empty, and so is all up to line 7."),
    ]
    assert [row.line for row in rows] == [3, 4, 5, 6, 8]


def test_without_a_header_the_first_line_is_a_row(tmp_path: Path) -> None:
    source, rows = read(tmp_path, "1,a great hotel\n0,a bad one\n")
    assert source.columns == ["column 1", "column 2"]
    assert rows[0] == Row(1, ["1", "a great hotel"])
    assert source.notes == ["Line 1 looks like a row, not like a header: the columns have numbers."]


def test_plain_text_is_one_column_whose_empty_lines_mean_nothing(tmp_path: Path) -> None:
    source, rows = read(tmp_path, 'He said, "Hi."\n\n"Well", said she.\n', "story.txt")
    assert (source.format, source.delimiter) == ("text", "")
    assert rows == [Row(1, ['He said, "Hi."']), Row(3, ['"Well", said she.'])]


def test_one_column_of_a_csv_file_may_be_quoted(tmp_path: Path) -> None:
    _, rows = read(tmp_path, 'text\n"One, two"\nthree\n')
    assert [row.cells for row in rows] == [["One, two"], ["three"]]


def test_a_nameless_column_gets_its_number(tmp_path: Path) -> None:
    source, _ = read(tmp_path, ",text\n0,Hello\n")
    assert source.columns == ["column 1", "text"]


def test_a_duplicate_header_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the name “text” twice, in columns 1 and 3"):
        read(tmp_path, "text,label, text \na,b,c\n")


def test_too_many_columns_are_refused(tmp_path: Path) -> None:
    header = ",".join(
        f"name{letter}{place}" for place in range(60) for letter in "abcdefghijklmnopqrst"
    )
    with pytest.raises(DataError, match="1200 columns"):
        read(tmp_path, f"{header}\n{header}\n")


def test_rows_with_damaged_bytes_are_left_out_by_name(tmp_path: Path) -> None:
    data = "问题,回答\n灯塔在哪里,在海边\n".encode() + b"caf\xe9,d\n" + "船呢,在港口\n".encode()
    source, rows = read(tmp_path, data)
    assert rows[1].problem == ("broken", "Line 3 holds bytes that are not in the file's encoding.")
    assert [row.line for row in rows if not row.problem] == [2, 4]
    assert "some bytes do not fit" in source.notes[0]


def test_a_replacement_character_that_was_in_the_file_is_text(tmp_path: Path) -> None:
    _, rows = read(tmp_path, "prompt,completion\na,�\n")
    assert rows == [Row(2, ["a", "�"])]


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lora_engine.data.lines.LONGEST_LINE", 1000)
    with pytest.raises(DataError, match="Line 2 is longer than 1,000 characters"):
        read(tmp_path, "prompt,completion\na," + "b" * 2000)


def test_unbalanced_quotes_of_a_real_file_cost_no_row(real_data: Path) -> None:
    with open_source(real_data / "mrpc_train.txt") as source:
        rows = list(source.rows)
    assert len(rows) == 4076
    assert not [row for row in rows if row.problem]
    assert (source.delimiter, source.encoding) == ("\t", "utf-8-sig")
    assert source.columns[0] == "Quality"
    assert [row.line for row in rows] == list(range(2, 4078))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('q,a\n"a, b",c\n"d,e\n"f, g",h\n', "Line 3 has a quotation mark"),
        ('q,a\n"a, b",c\n"d,e\n"f,e\n"f, g",h\n', "(and so have 1 more)"),
        ('q,a\na,b\n"d,e\nf,g\n', "Line 3 has a quotation mark"),
        ('q,a\n"a, b",c\n"d ""e""",f\n', ""),
        ('q\ta\na\tb\n"d\te\nf"\tg\n', "Lines 3 to 4 are read as one row"),
    ],
)
def test_a_quote_that_is_never_closed_is_told_once(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "quotes.csv"
    path.write_text(text)
    with open_source(path) as source:
        assert not [row.problem for row in source.rows if row.problem]
        assert bool(source.notes) == bool(said)
        assert said in "".join(source.notes)
