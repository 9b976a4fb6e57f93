"""Workbooks that are damaged, locked or of another kind: one sentence each, and no warnings."""

import warnings
import zipfile
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_engine.data import Library, workbook
from lora_engine.data.read import open_source
from lora_engine.errors import DataError
from tests.data.workbooks import (
    FIRST_SHEET,
    QUESTIONS,
    Sheets,
    damaged,
    make_workbook,
    read,
    sheet_xml,
    with_part,
)


def test_what_openpyxl_warns_of_is_not_heard(tmp_path: Path) -> None:
    path = make_workbook(tmp_path / "book.xlsx", {"A": QUESTIONS})
    row = '<row><c t="str"><v>text</v></c></row>'
    choices = '<extLst><ext uri="{CCE6A557-97BC-4B89-ADB6-D9C93CAAB3DF}"/></extLst>'
    with_part(path, FIRST_SHEET, sheet_xml(row * 3, after=choices))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        openpyxl.load_workbook(path)
        assert heard
        heard.clear()
        assert len(read(path)[1]) == 2
    assert heard == []


@pytest.mark.parametrize(
    ("sheets", "said"),
    [
        ({"A": []}, "The workbook has no rows"),
        ({"A": [["", " "]], "B": []}, "The workbook has no rows"),
        ({"A": QUESTIONS[:1]}, "The file has a header but no row below it"),
    ],
)
def test_a_workbook_without_rows_is_one_sentence(
    library: Library, tmp_path: Path, sheets: Sheets, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        library.add(make_workbook(tmp_path / "book.xlsx", sheets))


def test_a_zip_archive_that_is_no_workbook_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    for part in ("x.csv", "[Content_Types].xml"):
        with zipfile.ZipFile(path, "w") as archive:
            xml = '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'
            archive.writestr(part, xml)
        with pytest.raises(DataError, match="a zip archive, but no Excel workbook"):
            read(path)


def test_a_workbook_that_is_cut_or_broken_is_one_sentence(tmp_path: Path) -> None:
    path = make_workbook(tmp_path / "book.xlsx", {"A": QUESTIONS})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="is damaged and cannot be read"):
        read(path)
    path.write_bytes(whole)
    for rows in (
        "<row><c><v>1</row>",
        '<row><c t="s"><v>99</v></c></row>',
        "<row><c><v>?</v></c></row>",
    ):
        with_part(path, FIRST_SHEET, sheet_xml(rows))
        with pytest.raises(DataError, match="workbook is damaged"):
            read(path)
    with_part(path, "xl/workbook.xml", "<workbook")
    with pytest.raises(DataError, match="workbook is damaged"):
        read(path)


def test_a_workbook_packed_as_excel_never_does_is_one_sentence(tmp_path: Path) -> None:
    path = make_workbook(tmp_path / "made.xlsx", {"A": QUESTIONS})
    other = tmp_path / "book.xlsx"
    with zipfile.ZipFile(path) as made, zipfile.ZipFile(other, "w", zipfile.ZIP_BZIP2) as archive:
        for name in made.namelist():
            archive.writestr(name, made.read(name))
    with pytest.raises(DataError, match="workbook is damaged"):
        read(other)


def test_a_workbook_that_holds_too_much_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_workbook(tmp_path / "book.xlsx", {"A": [["text"], *[["a" * 1000]] * 1000]})
    monkeypatch.setattr(workbook, "MOST_BYTES", path.stat().st_size * 2)
    with pytest.raises(DataError, match="save the sheet as CSV"):
        read(path)


def test_an_old_or_locked_workbook_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "book.xls"
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1000))
    for head in (None, 5):
        with pytest.raises(
            DataError, match=r"an old Excel \(.xls\) or has a password; .* as .xlsx"
        ):
            open_source(path, head=head).__enter__()


BOOK: list[bytes] = []


@given(place=st.floats(0, 1), byte=st.integers(0, 255), cut=st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_damaged_byte_never_raises_anything_but_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, place: float, byte: int, cut: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.xlsx"
    if not BOOK:
        BOOK.append(make_workbook(path, {"A": [*QUESTIONS, [1, True]]}).read_bytes())
    path.write_bytes(damaged(BOOK[0], place, byte, cut=cut))
    try:
        source, rows = read(path)
    except DataError as error:
        assert str(error).endswith(".")
        assert "\n" not in str(error)
    else:
        assert all(row.problem or len(row.cells) == len(source.columns) for row in rows)
