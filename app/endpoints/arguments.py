"""What programs send, as values and runs: each wrong one is a sentence that says what is wrong."""

import json
import re
from typing import Any

from app.services import Services
from app.wording import after as words
from jobs.job import Job
from lora_engine.errors import AdapterError, SettingsError

Json = dict[str, Any]


class Door:
    """What the endpoints of one subject have in common."""

    def __init__(self, services: Services) -> None:
        self.services = services

    def _job(self, job_id: object) -> Job:
        """The run of this id; raises SettingsError or JobNotFound."""
        return self.services.store.get(job_number(job_id))

    def _ended(self, job_id: object) -> Job:
        """One whose adapter does not change any more; raises AdapterError where it may."""
        job = self._job(job_id)
        if job.is_active:
            raise AdapterError(words.NOT_ENDED.format(job=job.id))
        return job


def json_object(value: Json | str | None, what: str) -> Json:
    """Settings given as a JSON object or as its text.

    Raises:
        SettingsError: neither of the two.
    """
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise SettingsError("", f"The {what} are not valid JSON.") from None
    if value is None or (isinstance(value, str) and not value.strip()):
        return {}
    if not isinstance(value, dict):
        raise SettingsError("", f"The {what} must be a JSON object of names and values.")
    if not _can_be_written(json.dumps(value, ensure_ascii=False)):
        raise SettingsError("", f"The {what} have half a character in them.")
    return value


def job_number(value: object) -> int:
    """A job id; raises SettingsError where it is none, and never rounds to another run's."""
    return _whole(value, "job_id", "A job id")


def job_numbers(values: object) -> list[int]:
    """A list of job ids; raises SettingsError."""
    if not isinstance(values, list | tuple):
        raise SettingsError("job_ids", f"The job ids must be a list, but are {values!r}.")
    return [job_number(value) for value in values]


def whole_number(value: object, name: str, least: int, most: int) -> int:
    """A whole number from ``least`` to ``most``; raises SettingsError."""
    number = _whole(value, name, name)
    if not least <= number <= most:
        raise SettingsError(name, f"{name} must be from {least} to {most:,}, but is {number}.")
    return number


def text(value: object, name: str) -> str:
    """An argument that must be text; raises SettingsError."""
    if not isinstance(value, str):
        raise SettingsError(name, f"{name} must be text, but is {value!r}.")
    if not _can_be_written(value):
        raise SettingsError(name, f"{name} must be text, but has half a character in it.")
    if "\0" in value:  # no path and no name has one, and no process can be started with it
        raise SettingsError(name, f"{name} must be text, but has a null character in it.")
    return value


def _can_be_written(said: str) -> bool:
    """Whether it has no half of a character, which JSON can say and no file can hold."""
    try:
        said.encode()
    except UnicodeEncodeError:
        return False
    return True


def _whole(value: object, name: str, said: str) -> int:
    """A whole number from outside, where 7.0 and "7" mean 7."""
    digits = str(value).removesuffix(".0")
    if not re.fullmatch(r"-?\d{1,30}", digits):
        raise SettingsError(name, f"{said} is a whole number, but {value!r} is not.")
    return int(digits)
