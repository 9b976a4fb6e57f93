"""Which columns are asked in a file that may have no answers, and what each row asks."""

import json
from collections.abc import Sequence

import pytest

from lora_engine.data.asking import Asked, Hints, ask, asking_roles
from lora_engine.data.lines import Row
from lora_engine.errors import DataError

NOTHING = Hints({}, {})
PAIRS = Hints({"text": "one", "text_pair": "other", "label": "class"}, {})


def roles_of(
    task: str, columns: Sequence[str], rows: Sequence[Sequence[str]], hints: Hints = NOTHING
) -> dict[str, str]:
    return asking_roles(task, columns, rows, hints)


def prose(columns: Sequence[str]) -> list[list[str]]:
    return [[f"{column} says this and that, number {n}" for column in columns] for n in range(6)]


@pytest.mark.parametrize(
    ("task", "columns", "roles"),
    [
        ("chat", ["question"], {"prompt": "question"}),
        ("chat", ["id", "Question", "notes"], {"prompt": "Question"}),
        ("chat", ["问题"], {"prompt": "问题"}),
        ("chat", ["question", "answer"], {"prompt": "question", "completion": "answer"}),
        ("chat", ["text"], {"prompt": "text"}),
        ("chat", ["Kundenanfrage"], {"prompt": "Kundenanfrage"}),
        ("chat", ["instruction", "input"], {"instruction": "instruction", "input": "input"}),
        (
            "seq2seq", ["question", "context", "answer"],
            {"instruction": "question", "input": "context", "output": "answer"},
        ),
        ("text", ["prompt"], {"text": "prompt"}),
        ("classification", ["review"], {"text": "review"}),
        (
            "classification", ["sentence1", "sentence2"],
            {"text": "sentence1", "text_pair": "sentence2"},
        ),
    ],
)  # fmt: skip
def test_names_tell_what_is_asked(task: str, columns: list[str], roles: dict[str, str]) -> None:
    assert roles_of(task, columns, prose(columns)) == roles


def test_what_is_known_counts_before_names() -> None:
    columns = ["question", "ask", "reply"]
    trained = Hints({"prompt": "ask", "completion": "gone", "system": "gone"}, {})
    assert roles_of("chat", columns, prose(columns), trained) == {
        "prompt": "ask", "completion": "reply"
    }  # fmt: skip
    own = {"prompt": "ask", "completion": "question"}
    assert roles_of("chat", columns, prose(columns), Hints({"prompt": "gone"}, own)) == own
    guessed = Hints({}, own, own_is_guess=True)
    assert roles_of("chat", columns, prose(columns), guessed)["prompt"] == "question"
    unnamed = ["erste", "zweite"]
    guessed = Hints({}, {"prompt": "erste", "completion": "zweite"}, own_is_guess=True)
    assert roles_of("chat", unnamed, prose(unnamed), guessed) == guessed.own


def test_labels_and_pairs_are_found() -> None:
    columns = ["id", "review", "sentiment"]
    rows = [[str(n), f"It was so and so, {n}", "good" if n % 2 else "bad"] for n in range(6)]
    found = roles_of("classification", columns, rows)
    assert found == {"text": "review", "label": "sentiment"}
    columns = ["premise", "hypothesis"]
    found = roles_of("classification", columns, prose(columns), PAIRS)
    assert found == {"text": "premise", "text_pair": "hypothesis"}
    with pytest.raises(DataError, match="name them “text1” and “text2”"):
        roles_of("classification", ["text"], prose(["text"]), PAIRS)
    single = Hints({"text": "gone", "label": "gone"}, {})
    with pytest.raises(DataError, match="name that one “text”"):
        roles_of("classification", columns, prose(columns), single)


def test_several_columns_that_could_be_asked_are_named() -> None:
    columns = ["Betreff", "Anfrage"]
    with pytest.raises(DataError, match=r"“Betreff”, “Anfrage”.*name that one “question”"):
        roles_of("chat", columns, prose(columns))


def test_conversations_are_found_without_answers() -> None:
    cell = json.dumps([{"role": "user", "content": "Hi"}])
    for column in ("messages", "Verlauf"):
        assert roles_of("chat", ["id", column], [["1", cell]]) == {"messages": column}


def read(task: str, roles: Sequence[str], *rows: Sequence[str | None]) -> list[Asked]:
    named = {role: role.upper() for role in roles}
    given = [Row(line, cells) for line, cells in enumerate(rows, start=2)]
    return list(ask(given, list(named.values()), task, named))


def turns(*said: tuple[str, str]) -> str:
    return json.dumps([{"role": role, "content": content} for role, content in said])


def test_a_last_answer_is_expected_and_not_shown() -> None:
    system, hi, hello, bye = (
        *(("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello")),
        ("user", "Bye"),
    )
    cells = [turns(system, hi), turns(hi, hello), turns(hi, hello, bye)]
    rows = read("chat", ["messages"], *([cell] for cell in cells))
    assert [row.turns for row in rows] == [(system, hi), (hi,), (hi, hello, bye)]
    assert [row.expected for row in rows] == ["", "Hello", ""]
    rows = read(
        "chat", ["prompt", "completion", "system"],
        ("Hi", "Hello", "Be kind."), ("Hi", None, ""), (turns(hi), turns(hello), None),
    )  # fmt: skip
    assert [row.turns for row in rows] == [(system, hi), (hi,), (hi,)]
    assert [row.expected for row in rows] == ["Hello", "", "Hello"]
    rows = read("seq2seq", ["instruction", "input", "history"], ("Do", "this", '[["Hi", "Hello"]]'))
    assert rows[0].turns == (hi, hello, ("user", "Do\nthis"))


def test_a_last_answer_of_weight_0_is_not_expected() -> None:
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "No", "weight": 0}]
    (row,) = read("chat", ["messages"], [json.dumps(said)])
    assert (row.turns, row.expected, row.trouble) == ((("user", "Hi"),), "", "")


def test_rows_that_ask_nothing_say_why_and_equal_ones_are_all_asked() -> None:
    rows = read("chat", ["prompt", "completion"], ("Hi", ""), (" ", "x"), (None, "x"), ("Hi", ""))
    assert [row.trouble for row in rows] == [
        "", "Line 3 has nothing in “PROMPT”.", "Line 4 has no “PROMPT”.", "",
    ]  # fmt: skip
    said = turns(("system", "Be kind."), ("assistant", "Hello"))
    assert "no question before" in read("chat", ["messages"], [said])[0].trouble
    bad = Row.bad(2, "broken", "is broken")
    assert list(ask([bad], ["A"], "text", {"text": "A"})) == []


def test_texts_and_labels() -> None:
    rows = read("classification", ["text", "text_pair", "label"], ("a", "b", " x "), ("a", "", "x"))
    assert (rows[0].text, rows[0].text_pair, rows[0].expected) == ("a", "b", "x")
    assert rows[1].trouble == "Line 3 has nothing in “TEXT_PAIR”."
    assert read("text", ["text"], ["The sea"])[0].text == "The sea"
