"""Rows become samples, or problems that say the line and the reason."""

import json
from collections.abc import Sequence

import pytest

from lora_engine.data.check import check_rows
from lora_engine.data.nouns import Problem, Sample, Turn
from lora_engine.data.rowfile import Batch


def check(roles: Sequence[str], *rows: tuple[str | None, ...]) -> list[Sample | Problem]:
    """Check rows whose columns are named like their roles in capitals; lines begin at 2."""
    columns = [list(cells) for cells in zip(*rows, strict=True)]
    batch = Batch(list(range(2, len(rows) + 2)), [None] * len(rows), columns)
    return list(check_rows([batch], {role: role.upper() for role in roles}))


def said(row: Sample | Problem) -> list[tuple[str, str]]:
    assert isinstance(row, Sample)
    return [(turn.role, turn.content) for turn in row.messages]


def test_question_and_answer_are_two_turns_as_they_stand() -> None:
    (row,) = check(("prompt", "completion"), (" Hi\n", "Hello "))
    assert row == Sample(
        line=2,
        messages=(Turn(role="user", content=" Hi\n"), Turn(role="assistant", content="Hello ")),
    )


def test_question_and_answer_may_be_lists_of_turns() -> None:
    def turns(*said: tuple[str, str]) -> str:
        return json.dumps([{"role": role, "content": content} for role, content in said])

    system, asked, told = ("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello")
    roles = ("prompt", "completion")
    (row,) = check(roles, (turns(system, asked), turns(told)))
    assert said(row) == [system, asked, told]
    for cells in (("Hi", turns(told)), ("Hi", turns(asked, told)), (turns(asked), "Hello")):
        (row,) = check(roles, cells)
        assert said(row) == [asked, told]
    (row,) = check(roles, ("Hi", turns(system)))
    assert isinstance(row, Problem)


def test_a_system_text_comes_first_where_there_is_one() -> None:
    rows = check(("prompt", "completion", "system"), ("a", "b", "Be kind."), ("c", "d", " "))
    assert said(rows[0])[0] == ("system", "Be kind.")
    assert len(said(rows[1])) == 2


def test_instruction_and_input_are_one_turn() -> None:
    roles = ("instruction", "input", "output")
    rows = check(roles, ("Translate.", "Hi", "你好"), ("Tell.", "", "Well."), ("", "Why?", "So."))
    assert [said(row)[0][1] for row in rows] == ["Translate.\nHi", "Tell.", "Why?"]


def test_earlier_turns_come_between_system_and_instruction() -> None:
    roles = ("instruction", "output", "system", "history")
    rows = check(roles, ("c", "d", "s", '[["a", "b"]]'), ("c", "d", "s", "[["))
    assert said(rows[0]) == [
        *(("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    ]
    assert isinstance(rows[1], Problem)
    assert rows[1].kind == "broken"


def test_a_conversation_keeps_its_own_system_turn() -> None:
    own = '[{"role": "system", "content": "own"}, {"role": "assistant", "content": "a"}]'
    none = '[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]'
    rows = check(("messages", "system"), (own, "other"), (none, "other"))
    assert said(rows[0])[0] == ("system", "own")
    assert said(rows[1])[0] == ("system", "other")


def test_an_answer_of_weight_0_is_read_and_not_learned() -> None:
    def cell(*weights: int) -> str:
        said = [{"role": "user", "content": "q"}]
        said += [{"role": "assistant", "content": "a", "weight": weight} for weight in weights]
        return json.dumps(said)

    rows = check(("messages",), (cell(0, 1),), (cell(1, 0),), (cell(0, 1),), (cell(0, 0),))
    assert isinstance(rows[0], Sample)
    assert [turn.is_learned for turn in rows[0].messages] == [False, False, True]
    assert isinstance(rows[1], Sample), "another turn is learned"
    assert rows[0].model_dump()["messages"][1:] == (
        {"role": "assistant", "content": "a", "weight": 0},
        {"role": "assistant", "content": "a"},
    )
    assert [row.message for row in rows[2:] if isinstance(row, Problem)] == [
        "Line 4 says the same as line 2.",
        "Line 5 has the weight 0 at every turn of the assistant, so nothing can be learned.",
    ]


def test_plain_text_is_text() -> None:
    assert check(("text",), ("Once upon a time",)) == [Sample(line=2, text="Once upon a time")]


def test_a_text_or_a_pair_has_its_label() -> None:
    assert check(("text", "label"), ("Fine.", " good ")) == [
        Sample(line=2, text="Fine.", label="good")
    ]
    rows = check(("text", "label", "text_pair"), ("a", "1", "b"), ("a", "0", "b"), ("a", "1", "b"))
    assert rows[0] == Sample(line=2, text="a", text_pair="b", label="1")
    assert isinstance(rows[1], Sample), "the same text may have another label"
    assert rows[2] == Problem(line=4, kind="duplicate", message="Line 4 says the same as line 2.")


@pytest.mark.parametrize(
    ("roles", "cells", "kind", "message"),
    [
        (("prompt", "completion"), ("", " "), "empty", "Line 2 is empty."),
        (("prompt", "completion"), (None, None), "empty", "Line 2 is empty."),
        (("prompt", "completion"), ("a", ""), "empty", "Line 2 has nothing in “COMPLETION”."),
        (("prompt", "completion"), ("", "b"), "empty", "Line 2 has nothing in “PROMPT”."),
        (("prompt", "completion"), ("a", None), "missing", "Line 2 has no “COMPLETION”."),
        (("instruction", "output"), (None, "b"), "missing", "Line 2 has no “INSTRUCTION”."),
        (("text",), (None,), "missing", "Line 2 has no “TEXT”."),
        (("text",), ("",), "empty", "Line 2 has nothing in “TEXT”."),
        (("text", "label"), ("a", " "), "empty", "Line 2 has nothing in “LABEL”."),
        (("text", "label"), ("a", None), "missing", "Line 2 has no “LABEL”."),
        (("text", "label"), ("", "1"), "empty", "Line 2 has nothing in “TEXT”."),
        (("text", "label"), ("a", "x" * 201), "broken", "Line 2 has a label of 201 characters."),
        (
            ("text", "label", "text_pair"),
            ("a", "1", ""),
            "empty",
            "Line 2 has nothing in “TEXT_PAIR”.",
        ),
        (("messages",), ("[]",), "empty", "Line 2 has a conversation without turns."),
        (("messages",), ("{",), "broken", "Line 2 has a conversation that is not valid JSON."),
    ],
)
def test_a_bad_row_is_a_problem_in_plain_words(
    roles: tuple[str, ...], cells: tuple[str | None, ...], kind: str, message: str
) -> None:
    (row,) = check(roles, cells)
    assert row.model_dump() == {"line": 2, "kind": kind, "message": message}


def test_a_duplicate_names_the_line_that_says_the_same() -> None:
    rows = check(("prompt", "completion"), ("a", "b"), ("a", "c"), ("a ", "b"), ("a", "b"))
    assert [isinstance(row, Sample) for row in rows] == [True, True, False, False]
    assert rows[2] == Problem(line=4, kind="duplicate", message="Line 4 says the same as line 2.")


def test_texts_that_only_look_alike_when_joined_are_no_duplicates() -> None:
    rows = check(("prompt", "completion"), ("a b", "c"), ("a", "b c"))
    assert all(isinstance(row, Sample) for row in rows)


def test_two_rows_on_one_line_are_still_compared() -> None:
    batch = Batch([1, 1], [None, None], [["a", "a"]])
    rows = list(check_rows([batch], {"text": "t"}))
    assert [type(row) for row in rows] == [Sample, Problem]


def test_what_could_not_be_read_stays_a_problem() -> None:
    problem = Problem(line=3, kind="broken", message="Line 3 is not valid JSON.")
    batch = Batch([2, 3], [None, problem], [["a", None], ["b", None]])
    assert list(check_rows([batch], {"prompt": "p", "completion": "c"}))[1] == problem
