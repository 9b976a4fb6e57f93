"""Rows → samples that a model can learn from, or what is wrong with them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from lora_engine.data.conversation import (
    BadRowError,
    Turns,
    read_conversation,
    read_history,
    read_question_and_answer,
    unlearned_places,
)
from lora_engine.data.labels import LONGEST_LABEL, Classes, canonical
from lora_engine.data.nouns import Problem, Sample, Turn
from lora_engine.data.role_cells import Cells, RoleCells
from lora_engine.data.rowfile import Batch


class Labelled(NamedTuple):
    """A text, or a pair of texts, and its class."""

    text: str
    text_pair: str
    label: str


Content = Turns | str | Labelled
"""What a sample holds: the turns of a conversation, plain text, or a text with its label."""


def check_rows(
    batches: Iterable[Batch], roles: Mapping[str, str], labels: Sequence[str] = ()
) -> Iterator[Sample | Problem]:
    """Every row in file order: a sample where it can be used, a problem where not.

    Args:
        batches: rows with the columns of ``roles``, in that order.
        roles: role → column, as ``roles.check_roles`` returns them.
        labels: how labels are shown; those that are not among them as they stand.
    """
    classes = Classes(labels)
    for row in check_contents(batches, roles):
        yield row if isinstance(row, Problem) else _sample(*row, classes)


def check_contents(
    batches: Iterable[Batch], roles: Mapping[str, str]
) -> Iterator[tuple[int, Content] | Problem]:
    """As ``check_rows``, with the line and content of a usable row: making a million samples
    takes longer than checking them.
    """
    read = _reader(roles)
    seen: dict[int, int] = {}
    for batch in batches:
        for line, problem, cells in batch.rows():
            if problem:
                yield problem
                continue
            try:
                content = read(cells)
            except BadRowError as error:
                message = f"Line {line} {error.reason}."
                yield Problem(line=line, kind=error.kind, message=message)
                continue
            fingerprint = _fingerprint(content)
            if (first := seen.get(fingerprint)) is not None:
                message = f"Line {line} says the same as line {first}."
                yield Problem(line=line, kind="duplicate", message=message)
                continue
            seen[fingerprint] = line
            yield line, content


def characters_of(content: Content) -> int:
    """How many characters of text there are, the label not counted."""
    if isinstance(content, str):
        return len(content)
    if isinstance(content, Labelled):
        return len(content.text) + len(content.text_pair)
    return sum([len(text) for _, text in content])


def _sample(line: int, content: Content, classes: Classes) -> Sample:
    # already checked: validating a million samples once more takes longer than reading them
    if isinstance(content, str):
        return Sample.model_construct(line=line, messages=(), text=content)
    if isinstance(content, Labelled):
        text, pair, label = content
        label = classes.shown(label)
        return Sample.model_construct(
            line=line, messages=(), text=text, text_pair=pair, label=label
        )
    unlearned = unlearned_places(content)
    turns = tuple(
        Turn.model_construct(role=role, content=text, weight=0 if place in unlearned else 1)
        for place, (role, text) in enumerate(content)
    )
    return Sample.model_construct(line=line, messages=turns, text="")


def _fingerprint(content: Content) -> int:
    """64 bits that are equal for rows that say the same, apart from space around the texts.

    Good for this process only, where Python's own hash is as wide as any and needs no bytes.
    """
    if isinstance(content, str):
        return hash(content.strip())
    if isinstance(content, Labelled):
        texts = content.text.strip(), content.text_pair.strip()
        return hash("\x1e".join([*texts, canonical(content.label)]))
    said = [f"{role}\x1f{text.strip()}" for role, text in content]
    return hash("\x1e".join([*said, *map(str, unlearned_places(content))]))


def _reader(roles: Mapping[str, str]) -> Callable[[Cells], Content]:
    """A function from the cells of the role columns to what they say; raises BadRowError."""
    make = next(make for needed, make in SHAPES.items() if needed in roles)
    return make(RoleCells(roles, {role: place for place, role in enumerate(roles)}))


def _pair(find: RoleCells) -> Callable[[Cells], Turns]:
    def read(cells: Cells) -> Turns:
        prompt, answer = find.needed("prompt", cells), find.needed("completion", cells)
        turns = read_question_and_answer(prompt, answer) or (
            ("user", prompt),
            ("assistant", answer),
        )
        return turns if turns[0][0] == "system" else (*find.system(cells), *turns)

    return read


def _instruction(find: RoleCells) -> Callable[[Cells], Turns]:
    def read(cells: Cells) -> Turns:
        answer = find.needed("output", cells)
        return (*instruction_turns(find, cells), ("assistant", answer))

    return read


def instruction_turns(find: RoleCells, cells: Cells) -> Turns:
    """What is said up to the question of a row with an instruction; raises BadRowError."""
    given = find.optional("input", cells)
    task = find.optional("instruction", cells) if given else find.needed("instruction", cells)
    history = find.optional("history", cells)
    return (
        *find.system(cells),
        *(read_history(history) if history else ()),
        ("user", f"{task}\n{given}" if task and given else task or given),
    )


def _conversation(find: RoleCells) -> Callable[[Cells], Turns]:
    def read(cells: Cells) -> Turns:
        turns = read_conversation(find.needed("messages", cells))
        if turns[0][0] == "system":
            return turns
        return (*find.system(cells), *turns)

    return read


def _labelled(find: RoleCells) -> Callable[[Cells], Labelled]:
    def read(cells: Cells) -> Labelled:
        text = find.needed("text", cells)
        pair = find.needed("text_pair", cells) if find.has("text_pair") else ""
        label = find.needed("label", cells).strip()
        if len(label) > LONGEST_LABEL:
            raise BadRowError("broken", f"has a label of {len(label):,} characters")
        return Labelled(text, pair, label)

    return read


def _text(find: RoleCells) -> Callable[[Cells], str]:
    return lambda cells: find.needed("text", cells)


SHAPES: dict[str, Callable[[RoleCells], Callable[[Cells], Content]]] = {
    "messages": _conversation,
    "output": _instruction,
    "completion": _pair,
    "label": _labelled,
    "text": _text,
}
"""How to read a row, by a role that none of the shapes below it has."""
