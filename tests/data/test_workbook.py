"""Excel workbooks: which sheet, which rows and columns, what cells say."""

import datetime
import subprocess
import sys
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from lora_engine.data import Library
from lora_engine.data.lines import Row, Source
from lora_engine.data.read import open_source
from lora_engine.errors import DataError
from tests.data.workbooks import (
    FIRST_SHEET,
    QUESTIONS,
    Sheets,
    make_workbook,
    read,
    sheet_xml,
    with_part,
)


def read_sheets(tmp_path: Path, sheets: Sheets) -> tuple[Source, list[Row]]:
    return read(make_workbook(tmp_path / "book.xlsx", sheets))


def read_xml(tmp_path: Path, rows: str, **around: str) -> tuple[Source, list[Row]]:
    path = make_workbook(tmp_path / "book.xlsx", {"A": [["x"]]})
    return read(with_part(path, FIRST_SHEET, sheet_xml(rows, **around)))


def test_the_rows_of_a_sheet_come_with_their_numbers(tmp_path: Path) -> None:
    source, rows = read_sheets(tmp_path, {"A": QUESTIONS})
    assert (source.format, source.encoding, source.delimiter) == ("xlsx", "", "")
    assert source.columns == ["prompt", "completion"]
    assert rows == [Row(2, ["Hi", "Hello"]), Row(3, ["Bye", "See you"])]
    assert source.notes == []


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    for name in ("book.xlsm", "book.csv", "book"):
        path = make_workbook(tmp_path / "made.xlsx", {"A": QUESTIONS}).rename(tmp_path / name)
        assert read(path)[0].format == "xlsx"


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (" as it is ", " as it is "),
        ("灯塔\nthe second line", "灯塔\nthe second line"),
        ("one_x000D_\nline", "one\r\nline"),
        ("a file_x0041_name", "a file_x0041_name"),
        ("#N/A", None),  # which openpyxl writes as the error that Excel has for it
        (7, "7"),
        (1.0, "1"),
        (-3.0, "-3"),
        (0.5, "0.5"),
        (1e20, "100000000000000000000"),
        (True, "true"),
        (False, "false"),
        (datetime.datetime(2026, 11, 27), "2026-11-27"),
        (datetime.date(2026, 11, 27), "2026-11-27"),
        (datetime.datetime(2026, 11, 27, 9, 30), "2026-11-27T09:30:00"),
        (datetime.time(9, 30), "09:30:00"),
        (datetime.timedelta(hours=30), "1 day, 6:00:00"),
        (None, None),
        (" \n", None),
    ],
)
def test_a_value_becomes_text(tmp_path: Path, value: Any, cell: str | None) -> None:
    _, rows = read_sheets(tmp_path, {"A": [["prompt", "note"], ["Hi", value], ["a", "b"]]})
    assert rows[0].cells == ["Hi", cell]


def test_a_number_has_the_digits_that_excel_shows(tmp_path: Path) -> None:
    cells = "<v>price</v>", "<v>0.30000000000000004</v>", "<v>3.0</v>", "<v>1E400</v>"
    kinds = "str", "n", "n", "n"
    rows = "".join(f'<row><c t="{kinds[n]}">{cells[n]}</c></row>' for n in range(4))
    _, found = read_xml(tmp_path, rows)
    assert found == [Row(2, ["0.3"]), Row(3, ["3"])]


def test_a_formula_says_what_it_gave(tmp_path: Path) -> None:
    head = '<row r="1"><c r="A1" t="inlineStr"><is><t>text</t></is></c>'
    head += '<c r="B1" t="inlineStr"><is><t>label</t></is></c></row>'
    row = (
        '<row r="2"><c r="A2" t="str"><f>B2&amp;"!"</f><v>One!</v></c><c r="B2"><f>1</f></c></row>'
    )
    wrong = '<row r="3"><c r="A3" t="e"><f>1/0</f><v>#DIV/0!</v></c><c r="B3"><v>2</v></c></row>'
    _, rows = read_xml(tmp_path, head + row + wrong)
    assert rows == [Row(2, ["One!", None]), Row(3, [None, "2"])]


def test_the_first_sheet_with_rows_is_read_and_the_others_are_named(tmp_path: Path) -> None:
    sheets = {"Nothing": [], "Answers": QUESTIONS, "Old": [["text"], ["a"]], "Empty": [[], []]}
    source, rows = read_sheets(tmp_path, sheets)
    assert len(rows) == 2
    assert source.notes == ["The rows are those of the sheet “Answers”; “Old” is not read."]
    source, _ = read_sheets(tmp_path, dict.fromkeys("ABC", QUESTIONS))
    assert source.notes == ["The rows are those of the sheet “A”; “B” and “C” are not read."]


def test_a_hidden_sheet_comes_last(tmp_path: Path) -> None:
    path = make_workbook(tmp_path / "book.xlsx", {"Lists": [["x"], ["y"]], "Answers": QUESTIONS})
    book = openpyxl.load_workbook(path)
    book["Lists"].sheet_state = "hidden"
    book.active = 1
    book.save(path)
    source, _ = read(path)
    assert source.columns == ["prompt", "completion"]


def test_empty_rows_and_columns_are_left_out(tmp_path: Path) -> None:
    table = [[], [None, "prompt", None, "completion", None], [None, "a", None, "b"], [], ["", " "]]
    table += [[None, "c", "", "d", ""], [], [None, " "]]
    source, rows = read_sheets(tmp_path, {"A": table})
    assert source.columns == ["prompt", "completion"]
    assert rows == [Row(3, ["a", "b"]), Row.empty(4, 5), Row(6, ["c", "d"])]


def test_a_nameless_column_is_read_and_a_stray_cell_is_told(tmp_path: Path) -> None:
    near = [["prompt", "completion"], ["a", "b"], ["c", "d", "mine"]]
    source, rows = read_sheets(tmp_path, {"A": near})
    assert source.columns == ["prompt", "completion", "column 3"]
    assert rows[0].cells == ["a", "b", None]
    far = [["prompt", "completion"], *([[f"a{n}", "b"] for n in range(3000)]), ["c", "d", "mine"]]
    source, rows = read_sheets(tmp_path, {"A": [*far, ["e", "f", "too"], [None, None, "only"]]})
    assert source.columns == ["prompt", "completion"]
    assert rows[-1] == Row(3003, ["e", "f"])
    [note] = source.notes
    assert note.startswith("Line 3002 has something beside the table")


def test_headers_are_as_in_any_table(tmp_path: Path) -> None:
    source, rows = read_sheets(tmp_path, {"A": [[1, "a great hotel"], [0, "a bad one"]]})
    assert source.columns == ["column 1", "column 2"]
    assert rows[0] == Row(1, ["1", "a great hotel"])
    assert source.notes == ["Line 1 looks like a row, not like a header: the columns have numbers."]
    with pytest.raises(DataError, match="the name “text” twice, in columns 1 and 3"):
        read_sheets(tmp_path, {"A": [["text", "label", "text"], ["a", "b", "c"]]})
    with pytest.raises(DataError, match="1200 columns"):
        read_sheets(
            tmp_path,
            {"A": [[f"name {letter}{n}" for n in range(60) for letter in "abcdefghijklmnopqrst"]]},
        )


def test_a_size_that_is_not_true_changes_nothing(tmp_path: Path) -> None:
    rows = "".join(
        f'<row r="{n}"><c r="A{n}" t="inlineStr"><is><t>text</t></is></c>'
        f'<c r="B{n}" t="inlineStr"><is><t>note {n}</t></is></c></row>'
        for n in (1, 2, 3)
    )
    for said in ("A1", "A1:XFD1048576"):
        _, found = read_xml(tmp_path, rows, before=f'<dimension ref="{said}"/>')
        assert found == [Row(2, ["text", "note 2"]), Row(3, ["text", "note 3"])]


def test_what_is_formatted_and_empty_is_no_row(tmp_path: Path) -> None:
    rows = '<row r="1"><c r="A1" t="inlineStr"><is><t>text</t></is></c><c r="XFD1"/></row>'
    rows += '<row r="2"><c r="A2"><v>1</v></c></row>'
    rows += "".join(f'<row r="{n}" ht="30"><c r="B{n}"/></row>' for n in range(3, 2000))
    rows += (
        '<row r="1048576"><c r="A1048576"/></row><row r="99999999999"><c r="A3"><v>1</v></c></row>'
    )
    source, found = read_xml(tmp_path, rows)
    assert source.columns == ["text"]
    assert found == [Row(2, ["1"])]
    assert source.notes == ["The 10,000 rows up to line 12,000 are empty: none below is read."]
    with pytest.raises(DataError, match="no rows"):
        read_xml(tmp_path, '<row r="99999999999"><c r="A1"><v>1</v></c></row>')


def test_the_first_rows_are_enough_and_the_fraction_grows(tmp_path: Path) -> None:
    rows = [["prompt", "completion"], *[[f"question {n}", "answer"] for n in range(6000)]]
    path = make_workbook(tmp_path / "book.xlsx", {"A": rows, "B": QUESTIONS})
    with open_source(path, head=5) as source:
        assert [row.line for row in source.rows] == [2, 3, 4, 5, 6]
    with open_source(path) as source:
        shares = [source.fraction() for _ in source.rows]
    assert shares == sorted(shares)
    assert shares[0] < 0.8
    assert shares[-1] == 1.0


def test_a_workbook_becomes_a_data_set(library: Library, tmp_path: Path) -> None:
    rows = [["question", "answer"], ["Hi", "Hello"], ["Who?", None], ["Hi", "Hello"], ["a", 1.0]]
    path = make_workbook(tmp_path / "book.xlsx", {"A": rows, "B": QUESTIONS})
    dataset = library.add(path)
    assert (dataset.format, dataset.rows, dataset.total_rows) == ("xlsx", 2, 4)
    assert dataset.roles == {"prompt": "question", "completion": "answer"}
    assert [problem.message for problem in dataset.problems] == [
        "Line 3 has no “answer”.",
        "Line 4 says the same as line 2.",
    ]
    assert dataset.notes == ("The rows are those of the sheet “A”; “B” is not read.",)
    assert library.resolve(str(path)) == dataset
    assert Library.peek(path, limit=1) == [{"question": "Hi", "answer": "Hello"}]


def test_openpyxl_is_loaded_only_for_a_workbook(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("prompt,completion\na,b\n")
    code = (
        "import sys; from lora_engine.data import Library; "
        f"Library({str(tmp_path / 'home')!r}).add({str(table)!r}); "
        "sys.exit(any(name in sys.modules for name in ('openpyxl', 'pyarrow.parquet')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
