"""Columns → what they mean: guessed from the header, then from the cells; checked when chosen."""

from collections.abc import Mapping, Sequence

from lora_engine.data.columns import Columns, Guess
from lora_engine.data.nouns import Dataset, DataTask
from lora_engine.errors import DataError

ROLE_TITLES: dict[str, tuple[str, str]] = {
    "prompt": ("Question", "What a person asks; the model reads it."),
    "completion": ("Answer", "What the model learns to say."),
    "instruction": ("Instruction", "The task in words; the model reads it."),
    "input": ("Input", "What the instruction is about; may be empty."),
    "output": ("Answer", "What the model learns to say."),
    "system": ("System text", "Says before each conversation how the model should behave."),
    "history": ("Earlier turns", "Pairs of question and answer that came before."),
    "messages": ("Conversation", "Whole conversations; every turn of the model is learned."),
    "text": ("Text", "Plain text that the model learns to continue, or to give a label."),
    "text_pair": ("Second text", "What the text is compared with, where pairs have a label."),
    "label": ("Label", "The class that the model learns to give: a word or a number."),
}
"""Role → its title and a sentence on what the column holds, for the page."""

SHAPES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("messages",), ("system",)),
    (("instruction", "output"), ("input", "system", "history")),
    (("prompt", "completion"), ("system",)),
    (("text", "label"), ("text_pair",)),
    (("text",), ()),
)
"""The shapes of a row: roles that it needs, and roles that it may have."""


def task_of(roles: Mapping[str, str]) -> DataTask:
    """What is learned with these roles."""
    if "label" in roles:
        return "classification"
    return "text" if "text" in roles else "chat"


def guess(columns: Sequence[str], rows: Sequence[Sequence[str | None]]) -> Guess:
    """Guess what the columns mean from their names and from the first ``rows``; never fails."""
    table = Columns(columns, rows)
    named = table.named()
    if classes := _class_roles(named, table):
        return Guess(classes)
    found = _from_names(named, table) or _from_names(table.named_in_part(named), table)
    if found:
        return Guess(found)
    for column in columns:
        if table.holds_conversations(column):
            return Guess({"messages": column} | also(named, "system"))
    if text := named.get("text"):
        return table.with_numbers(text) or Guess({"text": text})
    return table.from_cells()


def roles_of_test(dataset: Dataset, roles: Mapping[str, str]) -> dict[str, str]:
    """How a test data set is read: by the columns of the training data, whose ``roles`` they are,
    else by its own for the same roles.

    Raises:
        DataError: it has neither.
    """
    if set(roles.values()) <= set(dataset.columns):
        return dict(roles)
    if dataset.roles.keys() == roles.keys():
        return dataset.roles
    raise DataError(
        f"The test data “{dataset.name}” has no columns for {', '.join(roles)}; give it the "
        "columns of the training data."
    )


def check_roles(roles: Mapping[str, str | None], columns: Sequence[str]) -> dict[str, str]:
    """The chosen roles without empty ones.

    Raises:
        DataError: a role or column does not exist, or the roles do not go together.
    """
    chosen = {role: column for role, column in roles.items() if column}
    for role, column in chosen.items():
        if role not in ROLE_TITLES:
            known = ", ".join(ROLE_TITLES)
            raise DataError(f"There is no role named “{role}”; the roles are {known}.")
        if column not in columns:
            shown = ", ".join(f"“{name}”" for name in columns[:20])
            raise DataError(f"There is no column named “{column}”; the columns are {shown}.")
    for column in dict.fromkeys(chosen.values()):
        if len(same := [role for role in chosen if chosen[role] == column]) > 1:
            raise DataError(
                f"Column “{column}” cannot be both {same[0]} and {same[1]}; choose another column."
            )
    for needed, optional in SHAPES:
        if set(needed) <= set(chosen) and not ("text_pair" in chosen and needed == ("text",)):
            if extra := [role for role in chosen if role not in needed + optional]:
                raise DataError(
                    f"The role {extra[0]} does not go together with {' and '.join(needed)}; "
                    "clear one of them."
                )
            return chosen
    raise DataError(_what_is_missing(chosen))


def _what_is_missing(chosen: Mapping[str, str]) -> str:
    for needed, _ in SHAPES:
        if present := [role for role in needed if role in chosen]:
            missing = next(role for role in needed if role not in chosen)
            return f"There is a column for {present[0]} but none for {missing}; choose one."
    shapes = "; ".join(" + ".join(needed) for needed, _ in SHAPES)
    return f"Say which columns are learned from: {shapes}."


def also(named: Mapping[str, str], *roles: str) -> dict[str, str]:
    """Those of ``roles`` whose column has the usual name."""
    return {role: named[role] for role in roles if role in named}


def _class_roles(named: Mapping[str, str], table: Columns) -> dict[str, str] | None:
    """Text, second text and label, where a column is named and filled like a label."""
    label = table.label()
    messages, answer = named.get("messages"), named.get("answer")
    if label is None or answer not in (None, label):
        return None
    if messages and table.holds_conversations(messages):
        return None
    if pair := table.pair():
        return {"text": pair[0], "text_pair": pair[1], "label": label}
    meant = (named.get(meaning) for meaning in ("text", "prompt", "input", "instruction"))
    if text := next((column for column in meant if column not in (None, label)), None):
        return {"text": text, "label": label}
    prose = [column for column in table.columns if column != label and table.is_prose(column)]
    if len(prose) == 2:
        return {"text": prose[0], "text_pair": prose[1], "label": label}
    return {"text": prose[0], "label": label} if len(prose) == 1 else None


def _from_names(named: Mapping[str, str], table: Columns) -> dict[str, str] | None:
    """The shape that the names spell out, if any."""
    messages, answer = named.get("messages"), named.get("answer")
    if messages and table.holds_conversations(messages):
        return {"messages": messages} | also(named, "system")
    question = question_from_names(named)
    if not answer or question is None:
        return None
    return question | {"output" if "instruction" in question else "completion": answer}


def question_from_names(named: Mapping[str, str]) -> dict[str, str] | None:
    """The roles of what is asked that the names (meaning → column) spell out, if any."""
    instruction, prompt = named.get("instruction"), named.get("prompt")
    if instruction or (prompt and ("input" in named or "history" in named)):
        given = {"input": prompt} if instruction and prompt else {}
        beside = given | also(named, "input", "system", "history")
        return {"instruction": instruction or prompt or ""} | beside
    if source := prompt or named.get("input") or named.get("text"):
        return {"prompt": source} | also(named, "system")
    return None
