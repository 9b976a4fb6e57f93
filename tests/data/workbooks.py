"""Excel workbooks for tests: made by openpyxl, or part by part where Excel's own differ."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import openpyxl

from lora_engine.data.lines import Row, Source
from lora_engine.data.read import open_source

Sheets = Mapping[str, Sequence[Sequence[Any]]]
QUESTIONS = [["prompt", "completion"], ["Hi", "Hello"], ["Bye", "See you"]]
FIRST_SHEET = "xl/worksheets/sheet1.xml"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def read(path: Path) -> tuple[Source, list[Row]]:
    """A file that was read to its end, and its rows."""
    with open_source(path) as source:
        return source, list(source.rows)


def make_workbook(path: Path, sheets: Sheets) -> Path:
    """A workbook with these sheets: name → rows of values."""
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.worksheets[0])
    for name, rows in sheets.items():
        sheet = workbook.create_sheet(name)
        for row in rows:
            sheet.append(row)
    workbook.save(path)
    return path


def with_part(path: Path, name: str, text: str) -> Path:
    """The same workbook with another text in one of its parts."""
    with zipfile.ZipFile(path) as archive:
        parts = {part: archive.read(part) for part in archive.namelist()}
    parts[name] = text.encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part, data in parts.items():
            archive.writestr(part, data)
    return path


def sheet_xml(rows: str, before: str = "", after: str = "") -> str:
    """The text of a sheet's part."""
    return f'<worksheet xmlns="{MAIN}">{before}<sheetData>{rows}</sheetData>{after}</worksheet>'


def damaged(whole: bytes, place: float, byte: int, *, cut: bool) -> bytes:
    """A file with another byte at ``place`` (0 to 1), or that ends there."""
    data = bytearray(whole)
    data[min(len(data) - 1, int(place * len(data)))] = byte
    return bytes(data[: int(place * len(data))] if cut else data)
