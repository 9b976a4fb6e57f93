"""A cell that holds a whole conversation → turns: OpenAI and ShareGPT names, as JSON text."""

import ast
import json
import math
from typing import Any, NamedTuple, get_args

from lora_engine.data.charset import HALF_CHARACTERS, has_half_characters
from lora_engine.data.nouns import ProblemKind, Role

Turns = tuple[tuple[str, str], ...]
"""(role, content) of each turn; roles as in ``Role``. An ``UnlearnedTurn`` is one as well."""

SPEAKERS: dict[str, Role] = {
    **dict.fromkeys(("user", "human", "prompter", "用户", "人类"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "ai", "chatgpt", "助手"), "assistant"),
    **dict.fromkeys(("system", "developer", "系统"), "system"),
}
LISTS = ("messages", "conversations", "conversation")
LONGEST_LITERAL = 1_000_000
"""Characters of a Python literal that is parsed; JSON has no limit."""


class UnlearnedTurn(NamedTuple):
    """What the assistant says but does not learn, because its ``"weight"`` is 0."""

    role: str
    content: str


def unlearned_places(turns: Turns) -> list[int]:
    """The places of the turns that the assistant does not learn although it says them."""
    if UnlearnedTurn not in map(type, turns):  # as in nearly all of a million rows
        return []
    return [place for place, turn in enumerate(turns) if isinstance(turn, UnlearnedTurn)]


class BadRowError(Exception):
    """A row cannot be used; ``reason`` goes on after "Line 7"."""

    def __init__(self, kind: ProblemKind, reason: str) -> None:
        super().__init__(reason)
        self.kind: ProblemKind = kind
        self.reason = reason


def is_conversation(cell: str) -> bool:
    """Whether a cell holds a list of turns, usable or not."""
    if cell.lstrip()[:1] not in ("[", "{"):
        return False
    try:
        turns = _list_of_turns(_parse(cell))
    except BadRowError:
        return False
    return bool(turns) and all(map(is_turn, turns))


def is_turn(value: Any) -> bool:
    """Whether a JSON value is what somebody says in a conversation."""
    return isinstance(value, dict) and bool({"role", "from"} & value.keys())


def read_conversation(cell: str) -> Turns:
    """The turns of a cell such as ``[{"role": "user", "content": "Hi"}, …]``.

    Two turns of one speaker in a row and an open end are allowed, as in the training data of
    most chat models; a model whose template refuses them tells so later.

    Raises:
        BadRowError: it cannot be read or holds nothing that an assistant learns.
    """
    return _learnable(_turns(cell))


def read_question_and_answer(prompt: str, answer: str) -> Turns | None:
    """The turns of a row whose question or answer is a list of turns, as in TRL's conversational
    data sets; the answer may be the whole conversation (``chosen``, of preferences).

    None where both are plain text.

    Raises:
        BadRowError: as ``read_conversation``.
    """
    in_turns = is_conversation(prompt), is_conversation(answer)
    if not any(in_turns):
        return None
    said = _turns(answer) if in_turns[1] else (("assistant", answer),)
    if any(role == "user" for role, _ in said):
        return _learnable(said)
    asked = _turns(prompt) if in_turns[0] else (("user", prompt),)
    return _learnable((*asked, *said))


def _turns(cell: str) -> Turns:
    return tuple(
        _turn(turn, number) for number, turn in enumerate(_list_of_turns(_parse(cell)), start=1)
    )


def _learnable(turns: Turns) -> Turns:
    """The turns, if an assistant learns from them; raises BadRowError."""
    answers = sum(role == "assistant" for role, _ in turns)
    if turns and not answers:
        raise BadRowError("broken", "has no turn of the assistant, so nothing can be learned")
    if turns and answers == len(unlearned_places(turns)):
        reason = "has the weight 0 at every turn of the assistant, so nothing can be learned"
        raise BadRowError("broken", reason)
    return _in_order(turns)


def _in_order(turns: Turns) -> Turns:
    """The turns, if there are some and a system turn only begins them; raises BadRowError."""
    if not turns:
        raise BadRowError("empty", "has a conversation without turns")
    if any(role == "system" for role, _ in turns[1:]):
        raise BadRowError("broken", "has a system turn that is not the first turn")
    return turns


def read_asked(prompt: str, answer: str) -> Turns:
    """The turns of a row whose question, or answer, may be a list of turns; ``answer`` is empty
    where nobody has answered yet.

    Raises:
        BadRowError: as ``read_conversation``.
    """
    if answer:
        plain = (("user", prompt), ("assistant", answer))
        return read_question_and_answer(prompt, answer) or plain
    return read_open_conversation(prompt) if is_conversation(prompt) else (("user", prompt),)


def read_open_conversation(cell: str) -> Turns:
    """As ``read_conversation``, but nobody need have answered yet."""
    return _in_order(_turns(cell))


def read_history(cell: str) -> Turns:
    """The turns of ``[["question", "answer"], …]``, or of a list of turns.

    Raises:
        BadRowError: it cannot be read.
    """
    pairs = _list_of_turns(_parse(cell))
    if all(isinstance(pair, dict) for pair in pairs):
        return _turns(cell)
    turns: list[tuple[str, str]] = []
    for pair in pairs:
        match pair:
            case [str(question), str(answer)] if not (question.strip() or answer.strip()):
                continue  # how some programs write that there was nothing before
            case [str(question), str(answer)] if not (question.strip() and answer.strip()):
                raise BadRowError("empty", "has an earlier turn that is empty")
            case [str(question), str(answer)]:
                turns += [("user", question), ("assistant", answer)]
            case _:
                raise BadRowError("broken", "has earlier turns that are not pairs of two texts")
    return tuple(turns)


def _parse(cell: str) -> Any:
    value = _loaded(cell)
    if "\\u" in cell and has_half_characters(value):
        raise BadRowError("broken", HALF_CHARACTERS)
    return value


def _loaded(cell: str) -> Any:
    try:
        return json.loads(cell)
    except RecursionError:
        raise BadRowError("broken", "has a conversation that is nested too deeply") from None
    except ValueError:
        pass
    try:  # what pandas writes for a list: [{'role': 'user', …}]
        return ast.literal_eval(cell.strip()) if len(cell) < LONGEST_LITERAL else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise BadRowError("broken", "has a conversation that is not valid JSON") from None


def _list_of_turns(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = next((value[name] for name in LISTS if name in value), value)
        value = _turn_by_turn(value)
    if not isinstance(value, list):
        raise BadRowError("broken", "has a conversation that is not a list of turns")
    return value


def _turn_by_turn(value: Any) -> Any:
    """The turns where all speakers are in one list and all texts in another, as on the hub."""
    parts = list(value.values()) if isinstance(value, dict) else []
    if not parts or not all(isinstance(part, list) for part in parts):
        return value
    if len(set(map(len, parts))) != 1:
        return value
    return [dict(zip(value, turn, strict=True)) for turn in zip(*parts, strict=True)]


def _turn(turn: Any, number: int) -> tuple[str, str]:
    if not isinstance(turn, dict):
        raise BadRowError("broken", f"has a turn {number} that is not an object")
    speaker = _said(turn, "role", "from")
    content = _content(_said(turn, "content", "value", "text"), number)
    role = SPEAKERS.get(speaker.strip().casefold()) if isinstance(speaker, str) else None
    if role is None:
        known = ", ".join(get_args(Role))
        shown = f"“{str(speaker)[:40]}”" if speaker is not None else "nobody"
        raise BadRowError("broken", f"has turn {number} by {shown}; only {known} can speak")
    if not content.strip() and role != "system":
        raise BadRowError("empty", f"has an empty turn {number} by the {role}")
    if _weight(turn, number) == 0 and role == "assistant":
        return UnlearnedTurn(role, content)
    return role, content


def _weight(turn: dict[str, Any], number: int) -> int:
    """OpenAI's weight of an answer: 0 where it is not learned; 1 also where nothing is said."""
    match weight := turn.get("weight"):
        case None:
            return 1
        case float() if math.isnan(weight):  # what pandas writes for a value that is missing
            return 1
        case int() | float() if weight in (0, 1) and not isinstance(weight, bool):
            return int(weight)
    shown = str(weight)[:40]
    raise BadRowError("broken", f"has a turn {number} whose weight “{shown}” is no number 0 or 1")


def _said(turn: dict[str, Any], *names: str) -> Any:
    """What stands under the first of ``names`` that is filled; in Parquet all of them are there."""
    for name in names:
        if (said := turn.get(name)) is not None:
            return said
    return None


def _content(content: Any, number: int) -> str:
    """The text of a turn, which OpenAI also writes as a list of parts."""
    match content:
        case str():
            return content
        case None:
            raise BadRowError("missing", f"has a turn {number} without content")
        case bool() | int() | float():
            return json.dumps(content)
        case [*parts] if all(
            isinstance(part, dict) and isinstance(part.get("text"), str) for part in parts
        ):
            return "".join(part["text"] for part in parts)
    raise BadRowError("broken", f"has a turn {number} that is not text")
