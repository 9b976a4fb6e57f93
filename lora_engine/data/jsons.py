"""JSON and JSON Lines → rows, one value at a time, with the line on which each begins."""

import io
import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from lora_engine.data.by_column import rows_by_column
from lora_engine.data.charset import HALF_CHARACTERS, has_half_characters
from lora_engine.data.conversation import is_turn
from lora_engine.data.lines import READ_ERROR, Lines, Row, empty_lines
from lora_engine.data.nouns import ProblemKind
from lora_engine.errors import DataError

CHUNK_CHARACTERS = 1 << 18
LONGEST_VALUE = 64_000_000
"""Characters of one element of a JSON list."""
SPACE = re.compile(r"[ \t\r\n]*")
DECODER = json.JSONDecoder()


class JsonText(str):
    """A cell that stands for a number, a list or the like: what it is when it is read as JSON.

    Whoever learns from it takes it as text; whoever writes the row again can tell it apart.
    """

    __slots__ = ()


class Value(NamedTuple):
    """One row's JSON object, or what is wrong with it."""

    line: int
    fields: dict[str, Any]
    bad: tuple[ProblemKind, str] | None = None
    """The kind, and a reason that goes on after "Line 7"."""


def json_lines(lines: Lines) -> Iterator[Value]:
    """The objects of a JSON Lines file; a broken line is a problem and the rest is read on."""
    first_empty = 0
    for text in lines:
        number = lines.number
        if not text.strip():
            first_empty = first_empty or number
            continue
        if first_empty:  # empty lines are worth a word only between rows
            yield Value(first_empty, {}, ("empty", empty_lines(first_empty, number - 1)))
            first_empty = 0
        try:
            value = json.loads(text.rstrip())
        except RecursionError:
            yield _broken(number, "is nested too deeply")
        except ValueError as error:
            yield _broken(number, f"is not valid JSON: {_reason(error)}")
        else:
            yield _value(number, value, text, lines.charset.lossy)


def json_list(lines: Lines) -> Iterator[Value]:
    """The objects of a file that holds one JSON list, read piece by piece.

    Raises:
        DataError: the text is not one valid list; after the rows before the broken place.
    """
    text = _Window(lines.text.read)
    yield from _elements(text, lines.charset.lossy)
    if text.peek():
        raise DataError(
            f"There is something after the end of the JSON list in line {text.line()}; remove it."
        )


def json_object(lines: Lines) -> Iterator[Value]:
    """The rows of ``{"data": [{…}, …]}`` or of columns; else the object is one row.

    Raises:
        DataError: the text is not one valid JSON object.
    """
    whole = _Window(lines.text.read)
    whole.peek()
    first_line = whole.line()
    value, raw = whole.value()
    if whole.peek():
        raise DataError(
            f"There is something after the end of the JSON object in line {whole.line()}; "
            "write one object on each line, or all objects as one list."
        )
    lossy = lines.charset.lossy
    rows = rows_by_column(value)
    is_table = rows and len(rows) > 1 and len(rows[0]) > 1  # whatever one of its columns holds
    if not is_table and (place := _place_of_rows(value, raw)) is not None:
        rest = io.StringIO(raw[place:], newline="")
        line = first_line + raw.count("\n", 0, place)
        yield from _elements(_Window(rest.read, line), lossy)
    elif rows:
        for row in rows:  # which have no text of their own
            text = json.dumps(row).replace(r"\ufffd", READ_ERROR)
            yield _value(first_line, row, text, lossy)
    else:
        yield _value(first_line, value, raw, lossy)


def _elements(text: "_Window", lossy: bool) -> Iterator[Value]:
    """The objects of the list that begins at the current place of ``text``."""
    text.skip("[")
    if text.peek() == "]":
        return text.skip("]")
    while True:
        line, (value, raw) = text.line(), text.value()
        yield _value(line, value, raw, lossy)
        if text.peek() == "]":
            return text.skip("]")
        text.skip(",")


def _place_of_rows(value: Any, raw: str) -> int | None:
    """Where in ``raw`` the only list of objects of an object begins; turns are no rows."""
    lists = [
        (name, part)
        for name, part in (value.items() if isinstance(value, dict) else ())
        if isinstance(part, list) and part and all(isinstance(row, dict) for row in part)
    ]
    if len(lists) != 1 or is_turn(lists[0][1][0]):
        return None
    name, rows = lists[0]
    key = re.compile(re.escape(json.dumps(name, ensure_ascii=False)) + r"\s*:\s*")
    places = (found.end() for found in key.finditer(raw))
    return next((place for place in places if DECODER.raw_decode(raw, place)[0] == rows), None)


def cell(value: Any) -> str | None:
    """A JSON value as the text of a cell; what is no text as ``JsonText``."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return None  # what pandas writes for a value that is missing
    return JsonText(json.dumps(value, ensure_ascii=False))


class Scan(NamedTuple):
    """What a first pass over all values tells."""

    columns: list[str]
    """The names of all fields in the order in which they first appear."""
    one_line: bool
    """Whether values share a line, so that only their number tells them apart."""


def scan(values: Iterator[Value], most_columns: int) -> Scan:
    """Look at all values once; raises DataError where there are more than ``most_columns``."""
    names: dict[str, None] = {}
    line, one_line = 0, False
    for value in values:
        one_line = one_line or value.line == line
        line = value.line
        if not value.fields.keys() <= names.keys():
            names.update(dict.fromkeys(value.fields))
            if len(names) > most_columns:
                raise DataError(
                    f"The rows have more than {most_columns} different fields by line "
                    f"{value.line}; give every row the same few fields."
                )
    return Scan(list(names), one_line)


def as_rows(values: Iterator[Value], found: Scan) -> Iterator[Row]:
    """The values as rows with all columns; a field that a value lacks is None."""
    for number, (line, fields, bad) in enumerate(values, start=1):
        place = number if found.one_line else line
        try:
            cells = [cell(fields.get(column)) for column in found.columns]
        except RecursionError:
            bad = "broken", "is nested too deeply"
        yield Row.bad(place, *bad) if bad else Row(place, cells)


def _value(line: int, value: Any, raw: str, lossy: bool) -> Value:
    if not isinstance(value, dict):
        return _broken(line, "is not an object with named fields")
    if lossy and READ_ERROR in raw:
        return _broken(line, "holds bytes that are not in the file's encoding")
    if "\\u" in raw and has_half_characters(value):
        return _broken(line, HALF_CHARACTERS)
    if not value:
        return Value(line, {}, ("empty", "has no fields"))
    return Value(line, value)


def _broken(line: int, reason: str) -> Value:
    return Value(line, {}, ("broken", reason))


def _reason(error: ValueError) -> str:
    """Python's own words for what is wrong, in one short phrase."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg[0].lower()}{error.msg[1:]} at character {error.colno}"
    return "a number in it is too long"


class _Window:
    """A moving piece of the text of a JSON file."""

    def __init__(self, read: Callable[[int], str], line: int = 1) -> None:
        self._read = read
        self._text = ""
        self._place = 0
        self._line = line
        self._counted = 0
        """Place up to which line ends are in ``_line``."""
        self._ended = False

    def line(self) -> int:
        """The line of the current place."""
        self._line += self._text.count("\n", self._counted, self._place)
        self._counted = self._place
        return self._line

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            found = SPACE.match(self._text, self._place)
            self._place = found.end() if found else self._place
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._more(CHUNK_CHARACTERS):
                return ""

    def skip(self, character: str) -> None:
        """Go past the next character, which must be this one."""
        if self.peek() != character:
            raise DataError(f"The JSON list is broken in line {self.line()}; repair it there.")
        self._place += 1
        self.peek()

    def value(self) -> tuple[Any, str]:
        """The value at the current place and its text."""
        self.peek()
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._place)
            except RecursionError:
                raise DataError(
                    f"The JSON in line {self.line()} is nested too deeply; "
                    "a table is a list of objects with a few fields."
                ) from None
            except ValueError as error:
                # perhaps only the end of the value is still to be read
                if len(self._text) - self._place < LONGEST_VALUE and self._more(len(self._text)):
                    continue
                place = error.pos if isinstance(error, json.JSONDecodeError) else self._place
                if len(self._text) - self._place >= LONGEST_VALUE:
                    raise DataError(
                        f"What begins in line {self.line()} is longer than {LONGEST_VALUE:,} "
                        "characters; save the list of rows alone, or one object on each line."
                    ) from None
                line = self.line() + self._text.count("\n", self._place, place)
                raise DataError(
                    f"Line {line} is not valid JSON: {_plain(error)}; repair it there."
                ) from None
            if end == len(self._text) and self._more(CHUNK_CHARACTERS):
                continue  # a number may go on
            raw = self._text[self._place : end]
            self._place = end
            return value, raw

    def _more(self, size: int) -> bool:
        """Read on; False at the end of the file."""
        self.line()
        text = self._read(max(size, CHUNK_CHARACTERS))
        self._text = self._text[self._place :] + text
        self._place = self._counted = 0
        return bool(text)


def _plain(error: ValueError) -> str:
    message = error.msg if isinstance(error, json.JSONDecodeError) else "a number is too long"
    return message[0].lower() + message[1:]
