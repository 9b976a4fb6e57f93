"""Values of Python, as a workbook or a Parquet file gives them → cells."""

import datetime
import math
from typing import Any

from lora_engine.data.jsons import cell


def cell_of(value: Any) -> str | None:
    """A value as the text of a cell, written as in a JSON file; None where nothing is said."""
    return value if isinstance(value, str) else cell(_plain(value))


def _plain(value: Any) -> Any:
    """The same in the types of JSON; what JSON has no word for becomes text."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {str(name): _plain(part) for name, part in value.items()}
        case list() | tuple():
            return [_plain(part) for part in value]
        case bytes():
            return _text(value)
        case datetime.datetime() if value.tzinfo is None and value.time() == datetime.time.min:
            return value.date().isoformat()  # a day, which both formats write with a time
        case datetime.date() | datetime.time():
            return value.isoformat()
    return str(value)


def _text(value: bytes) -> str | None:
    """Old programs write text as bytes; a picture says nothing."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return None
