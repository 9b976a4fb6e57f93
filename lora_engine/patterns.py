"""A person's regular expressions, matched with a limit: some take longer than anybody lives."""

import re
from collections.abc import Callable
from typing import Any

import regex

from lora_engine.errors import SettingsError

SECONDS = 0.5
"""For one name; a usual pattern takes some microseconds."""


def check(pattern: str) -> None:
    """Raises ValueError where ``pattern`` is no regular expression, here and for other tools."""
    try:
        re.compile(pattern)
        regex.compile(pattern)
    except (re.error, regex.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{pattern!r} is no regular expression ({error})") from None


def matches_whole(pattern: str, name: str) -> bool:
    """Whether all of ``name`` matches; raises SettingsError where that cannot be found out."""
    return _tried(regex.fullmatch, pattern, name)


def matches_end(pattern: str, path: str) -> bool:
    """Whether a key of ``rank_pattern`` or ``alpha_pattern`` is for the module at ``path``, as
    PEFT looks it up; raises SettingsError where that cannot be found out."""
    return _tried(regex.match, rf"(.*\.)?({pattern})$", path)


def is_found(pattern: str, name: str) -> bool:
    """Whether ``name`` has a match in any case; raises SettingsError as above, and ValueError
    where ``pattern`` is no regular expression."""
    check(pattern)
    return _tried(regex.search, f"(?i:{pattern})", name)


def _tried(match: Callable[..., Any], pattern: str, name: str) -> bool:
    try:
        return match(pattern, name, timeout=SECONDS) is not None
    except TimeoutError:
        raise SettingsError(
            "lora.target_modules", f"The pattern {pattern!r} takes too long to match; simplify it."
        ) from None
