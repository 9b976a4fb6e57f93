"""Conversations in a model's own chat format, and which characters of it are learned."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jinja2

Message = dict[str, str]
Span = tuple[int, int]

DEFAULT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\n\n' }}"
    "{% else %}{{ 'Assistant: ' + message['content'] }}{{ eos_token }}{{ '\n\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
"""For models that have no chat template: ``User: …``, ``Assistant: …`` and the end token."""
BEGINNING = "{{ bos_token }}"
"""Before it, where the model's texts begin with a token of their own."""

TEMPLATE_ERRORS = (
    jinja2.TemplateError,
    *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
)
"""What a template may raise; its text comes with the model and may do anything Jinja can."""


class RefusedError(Exception):
    """A template does not take these messages; the text says why, in the template's words."""


@dataclass(frozen=True)
class Written:
    """A conversation as one text."""

    text: str
    learned: tuple[Span, ...]
    """What each answer that is to be learned and can be consists of, up to and with its end
    token."""
    missed: int
    """Answers that cannot be learned, because the template writes them differently later."""
    needs_end: bool
    """Whether nothing marks the end of the last answer, so that an end token must follow."""
    control: tuple[Span, ...] | None
    """Where the template itself wrote control tokens; None where all in ``text`` are its own."""


class ChatFormat:
    """A tokenizer's chat template, rendered in transformers' sandbox only."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.template = template_for(tokenizer)
        """In place of the model's own; None where that is there."""
        strings = {tokenizer.convert_ids_to_tokens(token) for token in control_ids(tokenizer)}
        self._strings = sorted(filter(None, strings), key=len, reverse=True)

    @cached_property
    def control(self) -> re.Pattern[str]:
        """Matches the text of any control token; the longest of several."""
        return re.compile("|".join(map(re.escape, self._strings)) or "(?!)")

    @cached_property
    def _control_next(self) -> re.Pattern[str]:
        return re.compile(rf"\s*(?:{self.control.pattern})")

    def render(self, messages: Sequence[Message], *, ask: bool = False) -> str:
        """The conversation as text; ``ask`` adds the beginning of the next answer.

        Raises:
            RefusedError: the template does not take these messages.
        """
        try:
            text = self._tokenizer.apply_chat_template(
                list(messages),
                chat_template=self.template,
                tokenize=False,
                add_generation_prompt=ask,
            )
        except TEMPLATE_ERRORS as error:
            raise RefusedError(str(error).strip() or type(error).__name__) from None
        return str(text)

    def write(
        self, messages: Sequence[Message], *, ask: bool = False, unlearned: Collection[int] = ()
    ) -> Written:
        """The conversation with what is learned from it; raises RefusedError.

        Args:
            messages: what is said.
            ask: whether the beginning of the next answer is added.
            unlearned: the places of answers that are read only.
        """
        text = self.render(messages, ask=ask)
        spans = {
            place: self._answer(messages, place, text)
            for place, message in enumerate(messages)
            if message["role"] == "assistant" and place not in unlearned
        }
        learned = tuple(filter(None, spans.values()))
        last = spans.get(len(messages) - 1)
        return Written(
            text=text,
            learned=learned,
            missed=len(spans) - len(learned),
            needs_end=last is not None and not self._ends_in_control(text[: last[1]]),
            control=self._own_control(messages, text, ask),
        )

    def end_of_answer(self) -> str | None:
        """The control token that the template writes after an answer; None where there is none."""
        turns = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"})
        try:
            written = self.write(turns)
        except RefusedError:
            return None
        said = written.text[: written.learned[-1][1]] if written.learned else ""
        return next((token for token in self._strings if said.endswith(token)), None)

    def _answer(self, messages: Sequence[Message], place: int, text: str) -> Span | None:
        """Where answer ``place`` stands in ``text``, from the end of its prompt."""
        content = messages[place]["content"].strip()
        start = self._start(messages[:place], text) if place else self._first(messages, text)
        if start is None or start < 0:
            return None
        so_far = text if place == len(messages) - 1 else self.render(messages[: place + 1])
        if text.startswith(so_far):
            end = len(so_far.rstrip())
        elif (found := text.find(content, start)) >= 0 and not text[start:found].strip():
            end = found + len(content)  # an earlier answer, written differently when it was last
        else:
            return None
        if not self._ends_in_control(text[:end]) and (
            follows := self._control_next.match(text, end)
        ):
            end = follows.end()
        return (start, end) if end > start else None

    def _first(self, messages: Sequence[Message], text: str) -> int | None:
        """Where the first message stands: where another content makes another text."""
        content = messages[0]["content"].strip()
        other = "a" if not content.startswith("a") else "b"
        marked = self.render([{**messages[0], "content": other}, *messages[1:]])
        pairs = enumerate(zip(marked, text, strict=False))
        start = next((place for place, (one, two) in pairs if one != two), len(text))
        return start if text.startswith(content, start) else None

    def _start(self, before: Sequence[Message], text: str) -> int | None:
        """Where the answer to ``before`` begins in ``text``."""
        prompt = self.render(before, ask=True)
        if text.startswith(prompt):
            return len(prompt)
        # a template that opens the answer with more than it writes afterwards (such as <think>)
        settled = self.render(before)
        pairs = enumerate(zip(prompt, text, strict=False))
        shared = next((place for place, (one, other) in pairs if one != other), len(text))
        return shared if text.startswith(settled) and shared > len(settled) else None

    def _ends_in_control(self, text: str) -> bool:
        return any(map(text.endswith, self._strings))

    def _own_control(
        self, messages: Sequence[Message], text: str, ask: bool
    ) -> tuple[Span, ...] | None:
        """The template's control tokens in ``text``, where the contents hold some as well.

        The contents are masked with as many harmless characters, so that every control token
        that is left is the template's.
        """
        if not any(self.control.search(message["content"]) for message in messages):
            return None
        masked = [
            {**message, "content": self.control.sub(_mask, message["content"])}
            for message in messages
        ]
        other = self.render(masked, ask=ask)
        if len(other) != len(text):
            raise RefusedError("it treats control tokens in a text in a special way")
        return tuple(self.spans(other))

    def spans(self, text: str) -> Iterator[Span]:
        """Where control tokens stand in ``text``."""
        return (found.span() for found in self.control.finditer(text))


def template_for(tokenizer: Any) -> str | None:
    """The chat template for a model that has none; None for others."""
    if tokenizer.chat_template:
        return None
    return BEGINNING + DEFAULT_TEMPLATE if begin_ids(tokenizer) else DEFAULT_TEMPLATE


def begin_ids(tokenizer: Any) -> list[int]:
    """The token that every text of the model begins with, where there is one."""
    with_specials: list[int] = tokenizer("a")["input_ids"]
    begins = with_specials and with_specials[0] == tokenizer.bos_token_id is not None
    return with_specials[:1] if begins else []


def control_ids(tokenizer: Any) -> frozenset[int]:
    """The ids of all tokens that steer a model and that no one can type."""
    also = set(getattr(tokenizer, "chat_control_tokens", None) or ())
    return frozenset(
        number
        for number, token in tokenizer.added_tokens_decoder.items()
        if token.special or token.content in also
    )


def _mask(found: re.Match[str]) -> str:
    return "x" * len(found.group())
