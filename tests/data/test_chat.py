"""Which characters of a conversation are learned, in the templates of several families."""

import pytest
from tokenizers.processors import TemplateProcessing

from lora_engine.data.chat import ChatFormat, RefusedError, control_ids
from lora_engine.data.tokens import prompt_ids
from tests.data import templates
from tests.data.conftest import CHATML, make_tokenizer

Turns = list[tuple[str, str]]
TWO_ANSWERS: Turns = [
    *(("user", "What is it?"), ("assistant", "A light.")),
    *(("user", "Where?"), ("assistant", "Here.")),
]


def messages(turns: Turns) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


def learned(template: str | None, turns: Turns) -> list[str]:
    written = ChatFormat(make_tokenizer(template)).write(messages(turns))
    return [written.text[start:end] for start, end in written.learned]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (CHATML, ["A light.<|im_end|>", "Here.<|im_end|>"]),
        (None, [" A light.<|im_end|>", " Here.<|im_end|>"]),
        (templates.QWEN3, ["A light.<|im_end|>", "<think>\n\n</think>\n\nHere.<|im_end|>"]),
        (templates.R1, ["A light.<|im_end|>", "Here.<|im_end|>"]),
        (templates.LLAMA3, ["A light.<|im_end|>", "Here.<|im_end|>"]),
        (templates.GEMMA, ["A light.<|im_end|>", "Here.<|im_end|>"]),
        (templates.GLM, ["A light.<|im_start|>", "Here."]),
        (templates.LATER_CHANGED, ["Here.<|im_end|>"]),
        (templates.NUMBERED, []),
    ],
)
def test_every_answer_is_learned_up_to_its_end_token(
    template: str | None, expected: list[str]
) -> None:
    assert learned(template, TWO_ANSWERS) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (CHATML, "<|im_end|>"),
        (None, "<|im_end|>"),
        (templates.QWEN3, "<|im_end|>"),
        (templates.GLM, None),
        ("{{ raise_exception('never') }}", None),
    ],
)
def test_what_ends_an_answer_is_seen_in_the_template(
    template: str | None, expected: str | None
) -> None:
    assert ChatFormat(make_tokenizer(template)).end_of_answer() == expected


def test_without_a_template_a_chat_begins_as_the_models_texts_do() -> None:
    plain = make_tokenizer(None)
    ids = prompt_ids(messages([("user", "Hi")]), plain)
    begun = make_tokenizer(None)
    begun.add_special_tokens({"bos_token": "<|begin|>"})
    begun._tokenizer.post_processor = TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", begun.bos_token_id)]
    )
    assert prompt_ids(messages([("user", "Hi")]), begun) == [begun.bos_token_id, *ids]
    written = ChatFormat(begun).write(messages(TWO_ANSWERS))
    assert [written.text[start:end] for start, end in written.learned] == [
        " A light.<|im_end|>",
        " Here.<|im_end|>",
    ]


def test_answers_that_are_written_differently_later_are_counted() -> None:
    chat = ChatFormat(make_tokenizer(templates.LATER_CHANGED))
    assert chat.write(messages(TWO_ANSWERS)).missed == 1


def test_trimmed_contents_are_found() -> None:
    turns = [("user", " Why? "), ("assistant", "\n So. \n"), ("user", "ok"), ("assistant", "End")]
    assert learned(templates.LLAMA3, turns) == ["So.<|im_end|>", "End<|im_end|>"]


def test_a_conversation_may_begin_with_an_answer_or_end_with_a_question() -> None:
    turns = [("assistant", "Hello!"), ("user", "Hi"), ("assistant", "Yes?"), ("user", "Bye")]
    assert learned(CHATML, turns) == ["Hello!<|im_end|>", "Yes?<|im_end|>"]


@pytest.mark.parametrize("first", ["user", "You are", "I", "assistant", "a", "b"])
def test_a_first_answer_is_not_sought_in_what_the_template_says(first: str) -> None:
    greeted = CHATML.replace("{%", "{{ 'You are a helpful AI assistant, I am a user.' }}{%", 1)
    turns = [("assistant", first), ("user", "Hi"), ("assistant", "Yes?")]
    assert learned(greeted, turns) == [f"{first}<|im_end|>", "Yes?<|im_end|>"]


def test_a_system_turn_is_read_only() -> None:
    turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Ho")]
    assert learned(CHATML, turns) == ["Ho<|im_end|>"]
    assert learned(None, turns) == [" Ho<|im_end|>"]


def test_only_a_last_answer_without_end_token_needs_one() -> None:
    glm, chatml = ChatFormat(make_tokenizer(templates.GLM)), ChatFormat(make_tokenizer())
    assert glm.write(messages(TWO_ANSWERS)).needs_end
    assert not glm.write(messages(TWO_ANSWERS[:3])).needs_end
    assert not chatml.write(messages(TWO_ANSWERS)).needs_end


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        ([("system", "s"), ("user", "a"), ("assistant", "b")], "System role not supported"),
        ([("user", "a"), ("user", "b"), ("assistant", "c")], "must alternate"),
    ],
)
def test_a_template_may_refuse_in_its_own_words(turns: Turns, said: str) -> None:
    with pytest.raises(RefusedError, match=said):
        ChatFormat(make_tokenizer(templates.GEMMA)).write(messages(turns))


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ messages[99].content }}", "no element 99"),
        ("{{ messages.nope() }}", "no attribute 'nope'"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),  # the sandbox
        ("{% for %}", "Expected an expression"),
    ],
)
def test_a_broken_or_hostile_template_refuses(template: str, said: str) -> None:
    with pytest.raises(RefusedError, match=said):
        ChatFormat(make_tokenizer(template)).write(messages(TWO_ANSWERS))


def test_control_tokens_of_the_contents_are_told_from_those_of_the_template() -> None:
    chat = ChatFormat(make_tokenizer())
    turns = messages([("user", "say <|im_end|>"), ("assistant", "<|im_start|><|im_end|>!")])
    written = chat.write(turns)
    assert written.control is not None
    assert [written.text[start:end] for start, end in written.control] == [
        *("<|im_start|>", "<|im_end|>", "<|im_start|>", "<|im_end|>")
    ]
    assert [written.text[start:end] for start, end in written.learned] == [
        "<|im_start|><|im_end|>!<|im_end|>"
    ]
    assert chat.write(messages(TWO_ANSWERS)).control is None


def test_a_template_that_looks_for_control_tokens_in_contents_refuses_them() -> None:
    chat = ChatFormat(make_tokenizer(templates.COUNTS_LENGTH))
    assert chat.write(messages(TWO_ANSWERS)).learned
    with pytest.raises(RefusedError, match="control tokens"):
        chat.write(messages([("user", "a<|im_end|>b"), ("assistant", "c")]))


def test_control_tokens_are_the_special_ones_and_those_that_the_tokenizer_names() -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<tool>", "<think>"])
    special = {0, 1, 2}
    assert control_ids(tokenizer) == special
    tokenizer.chat_control_tokens = ["<tool>"]
    assert control_ids(tokenizer) == special | {tokenizer.convert_tokens_to_ids("<tool>")}
