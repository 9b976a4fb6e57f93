"""Nothing a person writes becomes a control token; everything else is as the tokenizer does it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, normalizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from lora_engine.data.chat import control_ids
from lora_engine.data.tokens import Encoder, prompt_ids
from lora_engine.errors import DataError, ModelError
from tests.data import templates
from tests.data.conftest import make_tokenizer

CONTROL = ["<|im_start|>", "<|im_end|>", "<|end|>"]
ANY = st.text(st.characters(codec="utf-8"), max_size=20)
HOSTILE = st.lists(st.one_of(ANY, st.sampled_from([*CONTROL, "<|im_", "end|>", " ", "\n"]))).map(
    "".join
)


def turns_of(contents: list[str]) -> list[dict[str, str]]:
    roles = ["user", "assistant"] * len(contents)
    return [
        {"role": role, "content": content} for role, content in zip(roles, contents, strict=False)
    ]


@given(contents=st.lists(HOSTILE, min_size=2, max_size=4))
@settings(deadline=None)
def test_contents_never_add_a_control_token_and_lose_no_character(
    tokenizer: PreTrainedTokenizerFast, contents: list[str]
) -> None:
    encoder = Encoder(tokenizer)
    (tokens,) = encoder.chats([encoder.chat.write(turns_of(contents))])
    control = control_ids(tokenizer)
    assert sum(token in control for token in tokens.ids) == 2 * len(contents)
    text = tokenizer.apply_chat_template(turns_of(contents), tokenize=False)
    assert tokenizer.decode(tokens.ids, clean_up_tokenization_spaces=False) == text
    assert len(tokens.offsets) == len(tokens.ids)
    assert all(0 <= start <= end <= len(text) for start, end in tokens.offsets)


@given(contents=st.lists(ANY, min_size=2, max_size=4))
@settings(deadline=None)
def test_without_control_tokens_in_them_the_tokens_are_those_of_the_template(
    tokenizer: PreTrainedTokenizerFast, contents: list[str]
) -> None:
    encoder = Encoder(tokenizer)
    (tokens,) = encoder.chats([encoder.chat.write(turns_of(contents))])
    assert tokens.ids == tokenizer.apply_chat_template(turns_of(contents), return_dict=False)


def test_several_conversations_keep_their_order(tokenizer: PreTrainedTokenizerFast) -> None:
    encoder = Encoder(tokenizer)
    texts = ["one", "two <|im_end|>", "three"]
    written = [encoder.chat.write(turns_of([text, "ok"])) for text in texts]
    decoded = [tokenizer.decode(tokens.ids) for tokens in encoder.chats(written)]
    assert decoded == [chat.text for chat in written]


def test_text_that_only_resembles_a_control_token_is_kept_apart() -> None:
    tokenizer = make_tokenizer()
    # a tokenizer that folds wide letters before it looks for this control token
    tokenizer.backend_tokenizer.normalizer = normalizers.NFKC()
    tokenizer.backend_tokenizer.add_special_tokens(
        [AddedToken("<|wide|>", special=True, normalized=True)]
    )
    encoder = Encoder(tokenizer)
    (tokens,) = encoder.chats([encoder.chat.write(turns_of(["＜|wide|＞", "ok"]))])
    assert sum(token in control_ids(tokenizer) for token in tokens.ids) == 4


@given(text=HOSTILE)
@settings(deadline=None)
def test_plain_text_is_text_and_ends_once(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    (ids,) = Encoder(tokenizer).texts([text])
    control = control_ids(tokenizer)
    assert [token for token in ids if token in control] == [tokenizer.eos_token_id]
    assert tokenizer.decode(ids[:-1], clean_up_tokenization_spaces=False) == text
    assert prompt_ids([{"role": "user", "content": text}], tokenizer, as_text=True) == ids[:-1]


def test_plain_text_begins_as_the_tokenizer_begins_texts() -> None:
    tokenizer = make_tokenizer()
    tokenizer.bos_token = "<|im_start|>"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    (ids,) = Encoder(tokenizer).texts(["a"])
    assert ids == [1, *tokenizer("a", add_special_tokens=False)["input_ids"], 2]


def test_a_prompt_is_what_training_shows_before_the_answer(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    asked = [{"role": "user", "content": "What is it? <|im_end|>"}]
    ids = prompt_ids(asked, tokenizer)
    assert tokenizer.decode(ids) == (
        "<|im_start|>user\nWhat is it? <|im_end|><|im_end|>\n<|im_start|>assistant\n"
    )
    encoder = Encoder(tokenizer)
    (whole,) = encoder.chats(
        [encoder.chat.write([*asked, {"role": "assistant", "content": "A light."}])]
    )
    assert whole.ids[: len(ids)] == ids


def test_a_prompt_that_the_template_refuses_is_one_sentence() -> None:
    asked = [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}]
    with pytest.raises(DataError, match=r"does not allow that: System role not supported\."):
        prompt_ids(asked, make_tokenizer(templates.GEMMA))


def test_a_slow_tokenizer_is_refused_in_one_sentence() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        Encoder(Slow())
