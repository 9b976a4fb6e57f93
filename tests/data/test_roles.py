"""Roles: guessed from names and cells, refused in one sentence where they make no sense."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_engine.data.names import normalise
from lora_engine.data.nouns import DataTask
from lora_engine.data.roles import ROLE_TITLES, check_roles, guess, task_of
from lora_engine.errors import DataError

TURNS = '[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]'


@pytest.mark.parametrize(
    ("columns", "roles"),
    [
        (["prompt", "completion"], {"prompt": "prompt", "completion": "completion"}),
        ([" PROMPT ", "Completion:"], {"prompt": " PROMPT ", "completion": "Completion:"}),
        (["id", "Question", "Answer"], {"prompt": "Question", "completion": "Answer"}),
        (["user_message", "Response"], {"prompt": "user_message", "completion": "Response"}),
        (["问题", "回答"], {"prompt": "问题", "completion": "回答"}),
        (["提示词", "补全"], {"prompt": "提示词", "completion": "补全"}),
        (["用户问题", "标准答案"], {"prompt": "用户问题", "completion": "标准答案"}),
        (
            ["Customer question", "Ideal answer"],
            {"prompt": "Customer question", "completion": "Ideal answer"},
        ),
        (["input", "output"], {"prompt": "input", "completion": "output"}),
        (
            ["Instruction", "Input", "Output"],
            {"instruction": "Instruction", "input": "Input", "output": "Output"},
        ),
        (["指令", "输入", "输出"], {"instruction": "指令", "input": "输入", "output": "输出"}),
        (
            ["instruction", "context", "response", "category"],
            {"instruction": "instruction", "input": "context", "output": "response"},
        ),
        (
            ["instruction", "input", "output", "system", "history"],
            {
                **{"instruction": "instruction", "input": "input", "output": "output"},
                **{"system": "system", "history": "history"},
            },
        ),
        (
            ["question", "context", "answer"],
            {"instruction": "question", "input": "context", "output": "answer"},
        ),
        (
            ["instruction", "question", "answer"],
            {"instruction": "instruction", "input": "question", "output": "answer"},
        ),
        (
            ["System Prompt", "prompt", "chosen"],
            {"prompt": "prompt", "completion": "chosen", "system": "System Prompt"},
        ),
        (["messages"], {"messages": "messages"}),
        (["id", "conversations", "system"], {"messages": "conversations", "system": "system"}),
        (["对话"], {"messages": "对话"}),
        (["text", "label"], {"text": "text", "label": "label"}),
        (["label", "review"], {"text": "review", "label": "label"}),
        (["内容", "标签"], {"text": "内容", "label": "标签"}),
        (["question", "用户意图类别"], {"text": "question", "label": "用户意图类别"}),
        (
            ["id", "Sentence 1", "sentence2", "Class"],
            {"text": "Sentence 1", "text_pair": "sentence2", "label": "Class"},
        ),
        (
            ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"],
            {"text": "#1 String", "text_pair": "#2 String", "label": "Quality"},
        ),
        (["left", "right", "label"], {"text": "left", "text_pair": "right", "label": "label"}),
        (["title", "text", "rating"], {"text": "text", "label": "rating"}),
        (["text", "label", "response"], {"prompt": "text", "completion": "response"}),
        (["messages", "label"], {"messages": "messages"}),
        (["正文"], {"text": "正文"}),
        (["text", "target"], {"prompt": "text", "completion": "target"}),
    ],
)
def test_a_header_tells_the_roles(columns: list[str], roles: dict[str, str]) -> None:
    cells = {"messages": TURNS, "conversations": TURNS, "对话": TURNS, "id": "7", "label": "1"}
    cells |= {"Class": "yes", "Quality": "0", "#1 ID": "70", "#2 ID": "71", "rating": "5"}
    cells |= {"标签": "好评", "用户意图类别": "退货"}
    rows = [[cells.get(column, f"Some words in {column}.") for column in columns]]
    found = guess(columns, rows)
    assert found.roles == roles
    assert found.note == ""
    assert check_roles(found.roles, columns) == roles


def test_a_column_named_chat_that_holds_no_conversations_is_no_conversation() -> None:
    found = guess(["chat", "answer", "question"], [["general", "Yes.", "Really?"]])
    assert found.roles == {"prompt": "question", "completion": "answer"}


def test_conversations_are_found_under_any_name() -> None:
    assert guess(["n", "payload"], [["1", TURNS]]).roles == {"messages": "payload"}


@pytest.mark.parametrize(
    ("rows", "roles"),
    [
        ([["1", "What is it?", "A lighthouse."]] * 2, {"prompt": "b", "completion": "c"}),
        (
            [
                ["1", "hotel", "A fine room."],
                ["0", "hotel", "A bad one."],
                ["1", "hotel", "Cheap."],
            ],
            {"text": "c"},
        ),
        ([["1", "2", "3"]], {"prompt": "a", "completion": "b"}),
        ([["1", "", ""]], {"text": "a"}),
        ([["", "", ""]], {"prompt": "a", "completion": "b"}),
        ([], {"prompt": "a", "completion": "b"}),
    ],
)
def test_cells_tell_the_roles_where_names_do_not(
    rows: list[list[str]], roles: dict[str, str]
) -> None:
    columns = ["x1", "x2", "x3"]
    names = dict(zip("abc", columns, strict=True))
    found = guess(columns, rows)
    assert found.roles == {role: names[column] for role, column in roles.items()}
    assert found.note.startswith("No column has a usual name")


def test_numbers_that_come_again_and_again_are_the_label_of_one_text() -> None:
    rows = [[str(n % 2), str(n), f"Some words, row {n}."] for n in range(8)]
    found = guess(["x1", "x2", "x3"], rows)
    assert found.roles == {"text": "x3", "label": "x1"}
    assert "“x1” holds few different numbers" in found.note
    assert guess(["x1", "x2", "text"], rows).roles == {"text": "text", "label": "x1"}
    years = [[str(1990 + n % 3), str(n), words] for n, (_, _, words) in enumerate(rows)]
    assert guess(["x1", "x2", "text"], years).roles == {"text": "text"}


@pytest.mark.parametrize(
    "cells",
    [
        ["The first of many answers.", "The second one.", "And a third."],
        ["yes", "no", "x" * 61],
        [str(n * 7) for n in range(50)],
        [f"{n} apples" for n in range(1200)],
    ],
)
def test_a_column_of_answers_is_no_label_whatever_its_name(cells: list[str]) -> None:
    rows = [[f"Text number {n}.", cell] for n, cell in enumerate(cells)]
    assert guess(["text", "category"], rows).roles == {"text": "text"}


def test_an_answer_alone_is_a_question_of_the_cells() -> None:
    found = guess(["answer", "remark"], [["A light.", "What is it?"], ["Here.", "Where?"]])
    assert found.roles == {"prompt": "answer", "completion": "remark"}
    assert found.note


def test_the_longest_columns_of_many_are_taken_in_file_order() -> None:
    rows = [
        [f"title {n}", f"A long answer with many words {n}.", f"A question of words {n}?"]
        for n in range(5)
    ]
    assert guess(["t1", "t2", "t3"], rows).roles == {"prompt": "t2", "completion": "t3"}


@given(
    columns=st.lists(st.text(max_size=12), min_size=1, max_size=5, unique=True),
    data=st.data(),
)
def test_a_guess_never_fails_and_is_always_allowed(columns: list[str], data: st.DataObject) -> None:
    cell = st.one_of(st.none(), st.text(max_size=8), st.just(TURNS), st.just("12.5"))
    row = st.lists(cell, min_size=len(columns), max_size=len(columns))
    roles = guess(columns, data.draw(st.lists(row, max_size=4))).roles
    if all(columns):
        assert check_roles(roles, columns) == roles


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        ({}, "Say which columns are learned from: messages; instruction \\+ output"),
        ({"text": ""}, "Say which columns"),
        ({"system": "a"}, "Say which columns"),
        ({"kind": "a"}, "There is no role named “kind”; the roles are prompt"),
        ({"label": "a"}, "There is a column for label but none for text"),
        ({"text": "a", "text_pair": "b"}, "There is a column for text but none for label"),
        ({"text": "a", "label": "b", "system": "c"}, "system does not go together with text"),
        ({"text": "z"}, "There is no column named “z”; the columns are “a”, “b”, “c”"),
        ({"prompt": "a", "completion": "a"}, "Column “a” cannot be both prompt and completion"),
        ({"prompt": "a"}, "There is a column for prompt but none for completion"),
        ({"output": "a"}, "There is a column for output but none for instruction"),
        ({"instruction": "a", "completion": "b"}, "but none for output"),
        (
            {"prompt": "a", "completion": "b", "text": "c"},
            "text does not go together with prompt and completion",
        ),
        ({"prompt": "a", "completion": "b", "input": "c"}, "input does not go together"),
        ({"messages": "a", "prompt": "b"}, "prompt does not go together with messages"),
        ({"text": "a", "system": "b"}, "system does not go together with text"),
    ],
)
def test_roles_that_make_no_sense_are_one_sentence(roles: dict[str, str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        check_roles(roles, ["a", "b", "c"])


def test_roles_without_a_column_are_left_out() -> None:
    chosen = check_roles(
        {"prompt": "a", "completion": "b", "system": "", "input": None}, ["a", "b"]
    )
    assert chosen == {"prompt": "a", "completion": "b"}


@pytest.mark.parametrize(
    ("roles", "task"),
    [(("text",), "text"), (("messages",), "chat"), (("text", "label"), "classification")],
)
def test_the_roles_decide_the_task(roles: tuple[str, ...], task: DataTask) -> None:
    assert task_of(dict.fromkeys(roles, "a")) == task


def test_names_are_compared_without_case_spaces_and_punctuation() -> None:
    assert normalise(" User_Message: ") == "usermessage"
    assert normalise("ＰＲＯＭＰＴ") == "prompt"


def test_every_role_has_a_title_and_a_sentence() -> None:
    assert all(title and sentence.endswith(".") for title, sentence in ROLE_TITLES.values())


def test_long_labels_are_labels_where_they_come_again_and_again() -> None:
    long = "the customer wants to know why the card has not arrived after more than two weeks " * 2
    rows = [(f"This is text number {n}", long if n % 3 else "short") for n in range(12)]
    assert guess(["text", "label"], rows).roles == {"text": "text", "label": "label"}
    prose = [(text, f"{long} {n}") for n, (text, _) in enumerate(rows)]
    assert guess(["text", "label"], prose).roles.get("label") is None


def test_questions_without_answers_are_told() -> None:
    rows = [(f"How do I do the thing number {n}?",) for n in range(8)]
    found = guess(["question"], rows)
    assert found.roles == {"text": "question"}
    assert found.note.startswith("There is no column with answers to “question”, so it is taken")
    assert guess(["remark"], rows).note.startswith("No column has a usual name")
