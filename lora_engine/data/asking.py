"""Rows that are to be answered → what is asked in each, and what is expected where a row says it.

Unlike what is learned from, such a file needs no answers, and rows that say the same are all asked.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lora_engine.data.check import instruction_turns
from lora_engine.data.columns import Columns
from lora_engine.data.conversation import (
    BadRowError,
    Turns,
    UnlearnedTurn,
    read_asked,
    read_open_conversation,
)
from lora_engine.data.lines import Row
from lora_engine.data.role_cells import Cells, RoleCells
from lora_engine.data.roles import also, question_from_names
from lora_engine.errors import DataError

CONVERSATIONS = (
    (("messages",), ("system",)),
    (("instruction",), ("output", "input", "system", "history")),
    (("prompt",), ("completion", "system")),
)
SHAPES: dict[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]] = {
    "chat": CONVERSATIONS,
    "seq2seq": CONVERSATIONS,
    "text": ((("text",), ()),),
    "classification": ((("text",), ("label", "text_pair")),),
}
"""Task → the shapes of a row that is asked: roles that it needs, and roles that it may have."""
ANSWERS = {"instruction": "output", "prompt": "completion"}
"""What is asked → the role of its answer."""
SHOWN = 20
"""Columns that a sentence names."""


@dataclass(frozen=True)
class Asked:
    """What one row asks."""

    line: int
    cells: Cells
    """All of the row's own."""
    turns: Turns = ()
    """The conversation up to and with the question; empty for texts."""
    text: str = ""
    text_pair: str = ""
    expected: str = ""
    """The answer or label that the row itself gives; empty where it gives none."""
    trouble: str = ""
    """Why nothing can be asked, a sentence; else empty."""


@dataclass(frozen=True)
class Hints:
    """What is known of the columns beside their names."""

    trained: Mapping[str, str]
    """Role → column of the data that the adapter was trained on; empty where that is unknown."""
    own: Mapping[str, str]
    """Role → column as they are kept with this data set; empty for a file."""
    own_is_guess: bool = False
    """Whether ``own`` was guessed although no name told."""

    @property
    def pairs(self) -> bool | None:
        """Whether pairs of texts were learned; None where that is unknown."""
        return "text_pair" in self.trained if self.trained else None


def asking_roles(
    task: str, columns: Sequence[str], rows: Sequence[Cells], hints: Hints
) -> dict[str, str]:
    """Role → column of what is asked in a file, and of its answers or labels where it has them.

    The columns of the training data count first, then those kept with the data set, then names.

    Args:
        task: what the adapter learned.
        columns: those of the file.
        rows: its first rows.
        hints: what is known beside.

    Raises:
        DataError: no column, or none of several, can be told to be the question.
    """
    table = Columns(columns, rows)
    own = _fitting(task, hints.own, columns, hints.pairs)
    found = (
        _fitting(task, hints.trained, columns, hints.pairs)
        or (None if hints.own_is_guess else own)
        or _guess(task, table, hints.pairs)
        or own
    )
    if found is None:
        raise DataError(_unclear(task, columns, hints.pairs))
    return found | _answer(task, found, table)


def ask(
    rows: Iterable[Row], columns: Sequence[str], task: str, roles: Mapping[str, str]
) -> Iterator[Asked]:
    """What each row asks, in file order; rows that cannot be read at all are passed over."""
    places = {role: list(columns).index(column) for role, column in roles.items()}
    read = _reader(task, roles)(RoleCells(roles, places))
    for row in rows:
        if row.problem:
            continue
        try:
            yield read(row.line, row.cells)
        except BadRowError as error:
            yield Asked(row.line, row.cells, trouble=f"Line {row.line} {error.reason}.")


def _fitting(
    task: str, roles: Mapping[str, str], columns: Sequence[str], pairs: bool | None
) -> dict[str, str] | None:
    """Those of ``roles`` that this file has, where they are enough to ask."""
    there = {role: column for role, column in roles.items() if column in columns}
    if pairs and "text_pair" not in there:
        return None
    for needed, optional in SHAPES[task]:
        if set(needed) <= set(there):
            return {role: there[role] for role in (*needed, *optional) if role in there}
    return None


def _guess(task: str, table: Columns, pairs: bool | None) -> dict[str, str] | None:
    """The columns whose names say that they are asked, or the only one that can be."""
    named = table.named()
    if task == "classification" and pairs is not False and (pair := table.pair()):
        return {"text": pair[0], "text_pair": pair[1]}
    if pairs:
        return None
    if task in ("text", "classification"):
        meant = (named.get(meaning) for meaning in ("text", "prompt", "input", "instruction"))
        text = next(filter(None, meant), None) or _only_text(table, table.label())
        return {"text": text} if text else None
    if (column := named.get("messages")) and table.holds_conversations(column):
        return {"messages": column} | also(named, "system")
    if by_name := question_from_names(named) or question_from_names(table.named_in_part(named)):
        return by_name
    for column in table.columns:
        if table.holds_conversations(column):
            return {"messages": column} | also(named, "system")
    only = _only_text(table, named.get("answer"))
    return {"prompt": only} if only else None


def _only_text(table: Columns, apart: str | None) -> str | None:
    """The only column of text beside ``apart``; None where there are several."""
    others = [column for column in table.columns if column != apart]
    for suits in (table.is_prose, table.is_text, lambda _: True):
        if fitting := [column for column in others if suits(column)]:
            return fitting[0] if len(fitting) == 1 else None
    return None


def _answer(task: str, found: Mapping[str, str], table: Columns) -> dict[str, str]:
    """The column of answers or labels by its name, where it is not known otherwise."""
    if task == "classification":
        role, column = "label", table.label()
    else:
        role = next((ANSWERS[asked] for asked in ANSWERS if asked in found), "")
        column = table.named().get("answer")
    known = not role or role in found or column is None or column in found.values()
    return {} if known or column is None else {role: column}


def _unclear(task: str, columns: Sequence[str], pairs: bool | None) -> str:
    shown = ", ".join(f"“{column}”" for column in columns[:SHOWN])
    if pairs:
        return (
            "This adapter learned from pairs of texts, but no two columns of this file are a pair "
            f"({shown}): name them “text1” and “text2” in the file."
        )
    name = "text" if task in ("text", "classification") else "question"
    return (
        f"It is not clear which column of this file is to be answered ({shown}): name that one "
        f"“{name}” in the file."
    )


Read = Callable[[int, Cells], Asked]


def _reader(task: str, roles: Mapping[str, str]) -> Callable[[RoleCells], Read]:
    if task in ("text", "classification"):
        return _text
    for role, make in (("messages", _conversation), ("instruction", _instruction)):
        if role in roles:
            return make
    return _prompt


def _text(find: RoleCells) -> Read:
    def read(line: int, cells: Cells) -> Asked:
        pair = find.needed("text_pair", cells) if find.has("text_pair") else ""
        label = find.optional("label", cells).strip()
        return Asked(line, cells, (), find.needed("text", cells), pair, label)

    return read


def _conversation(find: RoleCells) -> Read:
    def read(line: int, cells: Cells) -> Asked:
        turns = read_open_conversation(find.needed("messages", cells))
        return _asked(line, cells, turns, find.system(cells))

    return read


def _instruction(find: RoleCells) -> Read:
    def read(line: int, cells: Cells) -> Asked:
        turns = instruction_turns(find, cells)
        return Asked(line, cells, turns, expected=find.optional("output", cells))

    return read


def _prompt(find: RoleCells) -> Read:
    def read(line: int, cells: Cells) -> Asked:
        turns = read_asked(find.needed("prompt", cells), find.optional("completion", cells))
        return _asked(line, cells, turns, find.system(cells))

    return read


def _asked(line: int, cells: Cells, turns: Turns, system: Turns) -> Asked:
    """The turns up to the last answer, which is expected unless its weight is 0; all where nobody
    has answered at last."""
    turns = turns if turns[0][0] == "system" else (*system, *turns)
    answered = turns[-1][0] == "assistant"
    asked = turns[:-1] if answered else turns
    if all(role == "system" for role, _ in asked):
        raise BadRowError("broken", "has no question before its last answer")
    is_expected = answered and not isinstance(turns[-1], UnlearnedTurn)
    return Asked(line, cells, asked, expected=turns[-1][1] if is_expected else "")
