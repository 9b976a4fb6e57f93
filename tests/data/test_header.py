"""A title above the header of a table: left out and told; what only resembles one is kept."""

from pathlib import Path

import pytest

from lora_engine.data import Library
from lora_engine.data.lines import Row
from lora_engine.data.read import open_source
from lora_engine.errors import DataError
from tests.data.workbooks import Sheets, make_workbook, read

TITLES = [
    ("Customer questions 2024\n\nprompt,completion\nHi,Hello\n", ".csv", 3),
    ("Customer questions 2024,,\n,,\nprompt,completion,note\nHi,Hello,x\n", ".csv", 3),
    ("Customer questions 2024\nprompt;completion\nHi, you;Hello\n", ".csv", 2),
    ("Our questions\tA and B\n\nprompt\tcompletion\tnote\nHi\tHello\tx\n", ".tsv", 3),
    ("Questions\n\nprompt,completion\nHi,Hello\n", ".csv", 3),
    ('"Fragen\nund Antworten",\nFrage,Antwort\nWer?,Ich.\nWann?,Bald.\n', ".csv", 3),
    ("Fragen\nStand: Mai 2024.\n\nBegriff;Gruppe\nHund;Tier\nEiche;Baum\n", ".csv", 4),
    ("Bewertungen;\nSatz;Note\nEin gutes Haus;5\nEin altes Haus;2\n", ".csv", 2),
    ("sep=;\nFragen 2024\n\nprompt;completion\nHi;Hello\n", ".csv", 4),
    (",Questions 2024,\nprompt,completion,note\nHi,Hello,x\n", ".csv", 2),
    ("Questions\nExported,2024-05-01\nid,prompt,completion\n1,Hi,Hello\n", ".csv", 3),
    ("Our questions, for all\nprompt\tcompletion\nHi\tHello\n", ".txt", 2),
    ("Questions\n\nprompt, completion\nHi, Hello\nBye, See you\n", ".csv", 3),
]


@pytest.mark.parametrize(("text", "suffix", "line"), TITLES)
def test_a_title_above_the_header_is_left_out_and_told(
    tmp_path: Path, text: str, suffix: str, line: int
) -> None:
    path = tmp_path / f"file{suffix}"
    path.write_text(text, "utf-8", newline="")
    source, rows = read(path)
    named = text.splitlines()[line - 1].replace(";", ",").replace("\t", ",").split(",")
    assert source.columns == [name.strip() for name in named]
    assert [row.line for row in rows] == list(range(line + 1, len(text.splitlines()) + 1))
    assert not [row for row in rows if row.problem]
    above = "first line was" if line == 2 else f"first {line - 1} lines were"
    told = f"The {above} taken for a title and left out; line {line} names the columns."
    assert source.notes == [told]


HEADERS = [
    (",text\n0,Hello\n1,Bye\n", ".csv", ["column 1", "text"]),
    (",phrase\nfirst,Hello\nsecond,Bye\n", ".csv", ["column 1", "phrase"]),
    ("phrase,\nHello,extra\nBye,more\n", ".csv", ["phrase", "column 2"]),
    ("text,\nWhat is it?,extra\nA boat.,more\n", ".csv", ["text", "column 2"]),
    ("text\nTo be, or not to be\nWell, well\n", ".csv", ["text"]),
    ("quote\n\nTo be, or not to be\nWell, well\n", ".csv", ["quote"]),
    ("quote\nHello,you\nWell, well.\nSo it goes.\n", ".csv", ["quote"]),
    ("word,meaning\nquestion,answer\nboat,ship\n", ".csv", ["word", "meaning"]),
    ("Input,,Output,\nCity,Date,Text,Note\nRome,1,a,b\n", ".csv", None),
    ("1,\n0,good\n1,bad\n", ".csv", ["column 1", "column 2"]),
    ("Chapter one\n\nIt was dark, and cold\nHe said, no\n", ".txt", ["column 1"]),
    ("Chapter one\n\nIt was dark, and cold\nHe said, no\n", ".csv", ["Chapter one"]),
]


@pytest.mark.parametrize(("text", "suffix", "columns"), HEADERS)
def test_what_resembles_a_title_is_kept(
    tmp_path: Path, text: str, suffix: str, columns: list[str] | None
) -> None:
    path = tmp_path / f"file{suffix}"
    path.write_text(text, "utf-8", newline="")
    source, _ = read(path)
    assert source.columns == (columns or ["Input", "column 2", "Output", "column 4"])
    assert not [note for note in source.notes if "title" in note]


def test_empty_cells_above_a_header_are_no_title(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text(",\n,\nprompt,completion\nHi,Hello\n")
    source, rows = read(path)
    assert (source.columns, source.notes) == (["prompt", "completion"], [])
    assert rows == [Row(4, ["Hi", "Hello"])]


def test_a_title_alone_above_a_header_is_told_as_a_file_without_rows(
    library: Library, tmp_path: Path
) -> None:
    path = tmp_path / "file.csv"
    path.write_text("Questions 2024\n\nprompt,completion\n")
    with pytest.raises(DataError, match="has a header but no row below it"):
        library.add(path)


@pytest.mark.parametrize(
    ("table", "columns", "lines"),
    [
        (
            [["Questions"], [], ["prompt", "completion"], ["Hi", "Hello"], ["Bye", "See you"]],
            ["prompt", "completion"],
            [4, 5],
        ),
        (
            [[], ["Fragen 2024"], [None, "Satz", "Note"], [None, "Ein Haus", 5], [None, "Rot", 1]],
            ["Satz", "Note"],
            [4, 5],
        ),
    ],
)
def test_a_title_above_the_table_of_a_sheet(
    tmp_path: Path, table: list[list[str]], columns: list[str], lines: list[int]
) -> None:
    source, rows = read(make_workbook(tmp_path / "book.xlsx", {"A": table}))
    assert source.columns == columns
    assert [row.line for row in rows] == lines
    [note] = source.notes
    assert note.startswith("The first 2 lines were taken for a title")


@pytest.mark.parametrize(
    "sheets",
    [
        {"A": [[None, "phrase"], ["first", "Hello"], ["second", "Bye"]]},
        {"A": [["phrase"], ["Hello"], ["Bye"]]},
        {"A": [["phrase", None], ["Hello", "extra"], ["Bye", None]]},
    ],
)
def test_a_header_with_nameless_columns_in_a_sheet_is_kept(tmp_path: Path, sheets: Sheets) -> None:
    source, rows = read(make_workbook(tmp_path / "book.xlsx", sheets))
    assert "phrase" in source.columns
    assert ([row.line for row in rows], source.notes) == ([2, 3], [])


def test_the_lines_of_problems_are_those_of_the_file(library: Library, tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text("Questions 2024,\n,\nprompt,completion\nHi,Hello\n,Bye\n\nHi,Hello\n")
    dataset = library.add(path)
    assert dataset.roles == {"prompt": "prompt", "completion": "completion"}
    assert [problem.message for problem in dataset.problems] == [
        "Line 5 has nothing in “prompt”.",
        "Line 6 is empty.",
        "Line 7 says the same as line 4.",
    ]
    assert dataset.notes[0].startswith("The first 2 lines were taken for a title")
    with open_source(path, head=1) as source:
        assert list(source.rows) == [Row(4, ["Hi", "Hello"])]
