"""Conversations in one cell: the names of the field, and what makes no sense."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_engine.data.conversation import (
    BadRowError,
    UnlearnedTurn,
    is_conversation,
    read_conversation,
    read_history,
    read_question_and_answer,
    unlearned_places,
)

EXPECTED = (("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello"))


@pytest.mark.parametrize(
    "value",
    [
        [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
        ],
        [
            {"from": "system", "value": "Be kind."},
            {"from": "human", "value": "Hi"},
            {"from": "gpt", "value": "Hello"},
        ],
        [
            {"role": "Developer ", "content": "Be kind."},
            {
                "role": "用户",
                "content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}],
            },
            {"role": "助手", "content": "Hello"},
        ],
        {
            "messages": [
                {"role": "system", "text": "Be kind."},
                {"role": "user", "content": "Hi"},
                {"role": "model", "content": "Hello"},
            ]
        },
        [  # rows of Parquet have all names, filled or not
            {"role": "system", "from": None, "content": "Be kind.", "value": None},
            {"role": None, "from": "human", "content": None, "value": "Hi"},
            {"role": "assistant", "from": None, "content": "Hello", "value": None},
        ],
        {"role": ["system", "user", "gpt"], "content": ["Be kind.", "Hi", "Hello"]},
    ],
)
def test_the_names_of_the_field_are_understood(value: Any) -> None:
    assert read_conversation(json.dumps(value)) == EXPECTED
    assert read_conversation(repr(value)) == EXPECTED  # what pandas writes into a CSV file
    assert is_conversation(json.dumps(value))


def turns(*pairs: tuple[str, Any]) -> str:
    return json.dumps([{"role": role, "content": content} for role, content in pairs])


def test_two_turns_of_one_speaker_and_an_open_end_are_allowed() -> None:
    cell = turns(
        ("assistant", "Hi!"), ("user", "a"), ("user", "b"), ("assistant", "c"), ("user", "d")
    )
    assert [role for role, _ in read_conversation(cell)] == [
        *("assistant", "user", "user", "assistant", "user")
    ]


def test_numbers_are_text() -> None:
    assert read_conversation(turns(("user", "2+2"), ("assistant", 4)))[1] == ("assistant", "4")


def weighed(*weights: Any) -> str:
    """Questions and answers, each answer with a weight; None where it has none."""
    said: list[dict[str, Any]] = []
    for weight in weights:
        answer = {"role": "assistant", "content": "b"}
        said += [
            {"role": "user", "content": "a", "weight": 0},
            answer if weight is None else answer | {"weight": weight},
        ]
    return json.dumps(said)


@pytest.mark.parametrize(
    ("weights", "unlearned"),
    [
        ((0, 1), [1]),
        ((0.0, 1.0), [1]),
        ((1, 0), [3]),
        ((None, 0, None), [3]),
        ((None, float("nan")), []),
        ((1, 1), []),
    ],
)
def test_answers_of_weight_0_are_not_learned(weights: Any, unlearned: list[int]) -> None:
    said = read_conversation(weighed(*weights))
    assert said == (("user", "a"), ("assistant", "b")) * len(weights)
    assert unlearned_places(said) == unlearned
    assert all(isinstance(said[place], UnlearnedTurn) for place in unlearned)


def test_weights_are_read_wherever_turns_are() -> None:
    assert unlearned_places(read_history(weighed(0, 1))) == [1]
    said = read_question_and_answer(weighed(0), "b") or ()
    assert [role for role, _ in said] == ["user", "assistant", "assistant"]
    assert unlearned_places(said) == [1]
    lists = {"role": ["user", "gpt", "gpt"], "content": ["a", "b", "c"], "weight": [None, 0, 1]}
    assert unlearned_places(read_conversation(json.dumps(lists))) == [1]


@pytest.mark.parametrize(
    ("cell", "kind", "said"),
    [
        ("[]", "empty", "without turns"),
        ("hello", "broken", "not valid JSON"),
        ('[{"role": "user"', "broken", "not valid JSON"),
        ("[" * 100_000, "broken", "nested too deeply"),
        ("'" * 1_000_001, "broken", "not a list of turns"),
        ('"text"', "broken", "not a list of turns"),
        ('{"a": 1}', "broken", "not a list of turns"),
        ('{"role": ["user"], "content": []}', "broken", "not a list of turns"),
        ("[1]", "broken", "a turn 1 that is not an object"),
        ('[{"content": "x"}]', "broken", "turn 1 by nobody"),
        ('[{"role": 7, "content": "x"}]', "broken", "turn 1 by “7”"),
        (turns(("user", "a"), ("tool", "b")), "broken", "turn 2 by “tool”; only system, user"),
        (turns(("user", "a")), "broken", "no turn of the assistant"),
        (turns(("user", "a"), ("assistant", " \n")), "empty", "an empty turn 2 by the assistant"),
        (turns(("user", ""), ("assistant", "b")), "empty", "an empty turn 1 by the user"),
        (turns(("user", None), ("assistant", "b")), "missing", "a turn 1 without content"),
        (turns(("user", {"a": 1}), ("assistant", "b")), "broken", "turn 1 that is not text"),
        (turns(("user", [{"type": "image_url"}]), ("assistant", "b")), "broken", "not text"),
        (turns(("user", "a \ud83d"), ("assistant", "b")), "broken", "half of a character"),
        (str([{"role": "user", "content": "\ud83d"}]), "broken", "half of a character"),
        (turns(("user", "a"), ("assistant", "b"), ("system", "c")), "broken", "a system turn that"),
        (weighed(0, 0), "broken", "the weight 0 at every turn of the assistant, so nothing can be"),
        (weighed(1, 0.5), "broken", "a turn 4 whose weight “0.5” is no number 0 or 1"),
        (weighed(-1), "broken", "a turn 2 whose weight “-1” is no number 0 or 1"),
        (weighed("0"), "broken", "a turn 2 whose weight “0” is no number 0 or 1"),
        (weighed(True), "broken", "a turn 2 whose weight “True” is no number 0 or 1"),
        (weighed([1]), "broken", "a turn 2 whose weight"),
    ],
)
def test_what_makes_no_sense_is_a_reason(cell: str, kind: str, said: str) -> None:
    with pytest.raises(BadRowError, match=said) as caught:
        read_conversation(cell)
    assert caught.value.kind == kind


def test_history_is_pairs_or_turns() -> None:
    expected = (("user", "a"), ("assistant", "b"))
    assert read_history('[["a", "b"]]') == expected
    assert read_history(turns(("user", "a"), ("assistant", "b"))) == expected
    assert read_history("[]") == ()
    assert read_history('[["", " "], ["a", "b"]]') == expected


@pytest.mark.parametrize("cell", ['[["a", ""]]', '[[" ", "b"]]'])
def test_half_a_pair_of_history_is_a_reason(cell: str) -> None:
    with pytest.raises(BadRowError, match="an earlier turn that is empty"):
        read_history(cell)


@pytest.mark.parametrize("cell", ['[["a"]]', "[1]", '["a", "b"]', '[["a", 1]]'])
def test_broken_history_is_a_reason(cell: str) -> None:
    with pytest.raises(BadRowError, match="not pairs of two texts"):
        read_history(cell)


@pytest.mark.parametrize("cell", ["", "text", "[]", "[1]", '{"a": 1}', "[{}]", "[broken"])
def test_other_cells_are_no_conversations(cell: str) -> None:
    assert not is_conversation(cell)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["role", "from", "content", "value", "messages"]), inner),
    ),
)


@given(cell=st.one_of(st.text(), VALUES.map(json.dumps), VALUES.map(repr)))
def test_any_cell_is_turns_or_a_reason(cell: str) -> None:
    is_conversation(cell)
    for read in (read_conversation, read_history):
        try:
            found = read(cell)
        except BadRowError as error:
            assert error.reason
        else:
            assert all(role in ("system", "user", "assistant") for role, _ in found)
