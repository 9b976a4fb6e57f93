"""Between what is typed into a field and a setting's value; pure functions."""

import re
from typing import Any

from app.fields import Field
from app.wording import train as words
from lora_engine.errors import SettingsError

BETWEEN_PATTERNS = re.compile(r",(?![^{]*\})")
"""A comma, but not that of a count such as ``{1,2}``."""


def to_setting(field: Field, value: Any) -> Any:
    """What the field's control holds → the setting's JSON value.

    Raises:
        SettingsError: an empty number that is needed, or a text that cannot be read.
    """
    if field.kind == "number":
        if value is None and not field.optional:
            raise SettingsError(field.name, words.EMPTY_NUMBER.format(label=field.label))
        return value
    if field.kind in ("switch", "choice"):
        return value
    said = str(value or "").strip()
    if field.kind == "patterns":
        return _patterns(field, said)
    if not said:
        return None
    if field.kind == "names":
        return [name.strip() for name in said.split(",") if name.strip()]
    if field.kind == "pattern":
        _check_regex(field, said)
    return _layers(field, said) if field.kind == "layers" else said


def to_control(field: Field, value: Any) -> Any:
    """The setting's JSON value → what the control holds: the reverse of ``to_setting``."""
    if field.kind == "names":
        return ", ".join(value or ())
    if field.kind == "layers":
        return _ranges(value or ())
    if field.kind == "patterns":
        return ", ".join(f"{pattern} = {number:.12g}" for pattern, number in (value or {}).items())
    return "" if value is None and field.kind in ("open", "pattern") else value


def _layers(field: Field, said: str) -> list[int]:
    numbers: set[int] = set()
    for part in said.split(","):
        found = re.fullmatch(r"\s*(\d{1,4})(?:\s*[-–]\s*(\d{1,4}))?\s*", part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if last < first:
            raise SettingsError(field.name, words.BAD_LAYERS.format(text=part.strip()))
        numbers.update(range(first, last + 1))
    return sorted(numbers)


def _ranges(numbers: tuple[int, ...] | list[int]) -> str:
    """``[0, 1, 2, 5]`` → ``0-2, 5``."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{a}-{b}" if b > a else str(a) for a, b in runs)


def _patterns(field: Field, said: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in BETWEEN_PATTERNS.split(said))):
        pattern, _, number = part.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            pattern = ""
        if not pattern.strip():
            raise SettingsError(field.name, words.BAD_PATTERNS.format(text=part))
        _check_regex(field, pattern.strip())
        found[pattern.strip()] = int(value) if value.is_integer() else value
    return found


def _check_regex(field: Field, said: str) -> None:
    try:
        re.compile(said)
    except re.error as error:
        raise SettingsError(
            field.name, words.BAD_REGEX.format(text=said, reason=error.msg)
        ) from None
