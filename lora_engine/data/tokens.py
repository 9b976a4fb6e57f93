"""Text → token ids, so that nothing a person wrote becomes a control token."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lora_engine.data.chat import (
    ChatFormat,
    Message,
    RefusedError,
    Span,
    Written,
    begin_ids,
    control_ids,
)
from lora_engine.errors import DataError, ModelError


@dataclass(frozen=True)
class Tokens:
    """A text's tokens and where each stands in it."""

    ids: list[int]
    offsets: list[Span]


class Encoder:
    """A fast tokenizer with its chat format.

    Raises:
        ModelError: the tokenizer cannot tell where its tokens stand in a text.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not tokenizer.is_fast:
            raise ModelError(
                "This model has only a slow tokenizer, which cannot tell answers from questions; "
                "choose a model with a tokenizer.json."
            )
        self._tokenizer = tokenizer
        self._control_ids = control_ids(tokenizer)
        self.chat = ChatFormat(tokenizer)
        self.end_id: int | None = tokenizer.eos_token_id
        self._begin_ids = begin_ids(tokenizer)

    def chats(self, written: Sequence[Written]) -> list[Tokens]:
        """The tokens of conversations: those of apply_chat_template, but for control tokens
        that stand in the contents, which become ordinary text."""
        plain = [chat.text for chat in written if chat.control is None]
        encoded = iter(self._encode(plain, split=False))
        return [
            self._kept_apart(chat.text, chat.control)
            if chat.control is not None
            else self._verified(chat.text, next(encoded))
            for chat in written
        ]

    def texts(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of plain texts, begun and ended as the model's training texts are."""
        end = [] if self.end_id is None else [self.end_id]
        return [[*self._begin_ids, *tokens.ids, *end] for tokens in self._encode(texts, split=True)]

    def beginning(self, text: str) -> list[int]:
        """The tokens of a text that is to be continued."""
        return self._begin_ids + self._encode([text], split=True)[0].ids

    def _encode(self, texts: Sequence[str], *, split: bool) -> list[Tokens]:
        """``split``: take the text of control tokens as ordinary text."""
        if not texts:  # which the tokenizer does not take
            return []
        encoded = self._tokenizer(
            list(texts),
            add_special_tokens=False,
            return_offsets_mapping=True,
            split_special_tokens=split,
            verbose=False,
        )
        return list(map(Tokens, encoded["input_ids"], encoded["offset_mapping"]))

    def _verified(self, text: str, tokens: Tokens) -> Tokens:
        """``tokens``, unless text that merely resembles a control token became one."""
        own = tuple(self.chat.spans(text))
        if sum(token in self._control_ids for token in tokens.ids) == len(own):
            return tokens
        return self._kept_apart(text, own)

    def _kept_apart(self, text: str, control: Sequence[Span]) -> Tokens:
        """Tokens of a text in which only the places in ``control`` are control tokens."""
        ids: list[int] = []
        offsets: list[Span] = []
        place = 0
        for start, end in (*control, (len(text), len(text))):
            if place < start:
                part = self._encode([text[place:start]], split=True)[0]
                ids += part.ids
                offsets += [(begin + place, finish + place) for begin, finish in part.offsets]
            if start < end:
                ids.append(self._tokenizer.convert_tokens_to_ids(text[start:end]))
                offsets.append((start, end))
            place = end
        return Tokens(ids, offsets)


def prompt_ids(messages: Sequence[Message], tokenizer: Any, *, as_text: bool = False) -> list[int]:
    """The tokens that a model answers: the conversation and the beginning of its answer.

    Args:
        messages: ``{"role", "content"}`` of each turn.
        tokenizer: the model's.
        as_text: take the last message as plain text to be continued, as the text task learns.

    Raises:
        DataError: the model's chat template refuses the conversation.
    """
    encoder = Encoder(tokenizer)
    if as_text:
        return encoder.beginning(messages[-1]["content"])
    try:
        written = encoder.chat.write(messages, ask=True)
    except RefusedError as error:
        raise DataError(f"This model's chat format does not allow that: {error}.") from None
    return encoder.chats([written])[0].ids
