"""What all settings share: they are frozen, refuse unknown names, and explain bad values."""

import json
import re
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from lora_engine.errors import SettingsError


class Settings(BaseModel):
    """Frozen settings that refuse unknown names and explain bad values in one sentence."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Self:
        """Make settings from plain JSON values.

        Raises:
            SettingsError: for the first value that cannot be used, with the name of its field.
        """
        if not isinstance(values, dict):
            raise SettingsError("", "Settings must be a JSON object of names and values.")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise _settings_error(error) from None

    @classmethod
    def parse_json(cls, text: str | bytes, replaced: Mapping[str, Any] | None = None) -> Self:
        """Make settings from the text of a JSON file, with some values in place of the file's.

        Raises:
            SettingsError: it is no JSON, or for the first value that cannot be used.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            raise SettingsError("", "The settings are not valid JSON.") from None
        if isinstance(values, dict):
            values |= replaced or {}
        return cls.parse(values)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values that ``parse`` turns back into equal settings."""
        return self.model_dump(mode="json")


BOUNDS = {
    "greater_than": ("gt", "greater than {}"),
    "greater_than_equal": ("ge", "at least {}"),
    "less_than": ("lt", "less than {}"),
    "less_than_equal": ("le", "at most {}"),
}
KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a number",
    "decimal": "a number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list",
    "dict": "an object of names and values",
    "model": "an object of names and values",
}
"""The beginning of pydantic's name for an error → what is wanted."""


def _settings_error(error: ValidationError) -> SettingsError:
    """The first problem of a pydantic error as one sentence."""
    first = error.errors(include_url=False)[0]
    kind, context, given = first["type"], first.get("ctx", {}), first.get("input")
    # pydantic adds functions, members of a union and places in a list
    path = [p for p in first["loc"] if isinstance(p, str) and not re.search(r"^function-|\[", p)]
    field = ".".join(path)
    name = path[-1] if path else "The settings"
    if any(isinstance(part, int) for part in first["loc"]):
        name = f"Each of {name}"
    wanted = next((words for start, words in KINDS.items() if kind.startswith(start)), None)
    if kind in BOUNDS:
        key, words = BOUNDS[kind]
        bound = context[key]
        wanted = words.format(f"{bound:,}" if isinstance(bound, int) else f"{bound:g}")
    elif kind == "literal_error":
        wanted = context["expected"]
    if kind == "extra_forbidden":
        sentence = f"There is no setting named {field!r}."
    elif kind == "missing":
        sentence = f"The setting {field!r} is missing."
    elif kind == "value_error":
        sentence = f"{first['msg'].removeprefix('Value error, ')}."
    elif wanted is None:
        sentence = f"{name}: {first['msg']}."
    else:
        shown = "this" if isinstance(given, dict | list) else repr(given)
        sentence = f"{name} must be {wanted}, but is {shown}."
    return SettingsError(field, sentence)
