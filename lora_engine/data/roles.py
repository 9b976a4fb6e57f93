"""Columns → what they mean: guessed from the header, then from the cells; checked when chosen."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lora_engine.data.conversation import is_conversation
from lora_engine.data.nouns import DataTask
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
    "text": ("Text", "Plain text that the model learns to continue."),
}
"""Role → its title and a sentence on what the column holds, for the page."""

SHAPES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("messages",), ("system",)),
    (("instruction", "output"), ("input", "system", "history")),
    (("prompt", "completion"), ("system",)),
    (("text",), ()),
)
"""The shapes of a row: roles that it needs, and roles that it may have."""

KNOWN_NAMES: dict[str, tuple[str, ...]] = {
    "messages": (
        *("messages", "conversations", "conversation", "dialogue", "dialog", "dialogs", "chat"),
        *("chats", "turns", "对话", "消息", "会话", "聊天", "多轮对话", "聊天记录", "對話"),
    ),
    "instruction": (*("instruction", "instructions", "指令", "指示", "任务指令", "任务说明"),),
    "prompt": (
        *("prompt", "prompts", "question", "questions", "query", "user", "human", "request", "q"),
        *("usermessage", "问题", "提问", "提示", "提示词", "问", "用户", "问句", "用户输入"),
        *("问题描述", "問題", "提問", "用戶"),
    ),
    "input": (
        *("input", "inputs", "context", "sourcetext"),
        *("输入", "输入内容", "上下文", "背景", "原文", "輸入"),
    ),
    "answer": (
        *("completion", "completions", "output", "outputs", "response", "responses", "answer"),
        *("answers", "reply", "assistant", "bot", "gpt", "target", "targettext", "chosen", "a"),
        *("modelanswer", "回答", "答案", "输出", "回复", "答", "补全", "应答", "答复", "助手"),
        *("参考答案", "译文", "輸出", "回覆"),
    ),
    "system": (
        *("system", "systemprompt", "systemmessage", "systemtext", "persona"),
        *("系统", "系统提示", "系统提示词", "系统消息", "人设", "系統", "系統提示"),
    ),
    "history": ("history", "previousturns", "历史", "历史对话", "对话历史", "歷史"),
    "text": (
        *("text", "texts", "content", "document", "body", "passage", "sentence", "article"),
        *("story", "paragraph", "review", "文本", "内容", "正文", "文章", "句子", "段落"),
        *("评论", "评价", "文字", "內容"),
    ),
}
"""What headers are usually called, normalised (see ``normalise``); first names win."""

NUMBER = re.compile(r"\s*[-+]?\d[\d.,:/\- ]*%?\s*|true|false", re.IGNORECASE)


@dataclass(frozen=True)
class Guess:
    """Roles for the columns of a table, and how they were found."""

    roles: dict[str, str]
    note: str = ""
    """A sentence where names did not help; else empty."""


def normalise(name: str) -> str:
    """A header without case, spaces, underscores and punctuation."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(character for character in folded if character.isalnum())


_MEANING = {name: meaning for meaning, names in KNOWN_NAMES.items() for name in names}


def is_known_name(cell: str) -> bool:
    """Whether a cell is a usual column name."""
    return len(cell) <= 40 and normalise(cell) in _MEANING


def task_of(roles: Mapping[str, str]) -> DataTask:
    """What is learned with these roles."""
    return "text" if "text" in roles else "chat"


def guess(columns: Sequence[str], rows: Sequence[Sequence[str | None]]) -> Guess:
    """Guess what the columns mean from their names and from the first ``rows``; never fails."""
    table = _Table(columns, rows)
    named = table.named()
    found = _from_names(named, table) or _from_names(table.named_in_part(named), table)
    if found:
        return Guess(found)
    for column in columns:
        if table.holds_conversations(column):
            return Guess({"messages": column} | _also(named, "system"))
    if text := named.get("text"):
        return Guess({"text": text})
    return table.from_cells()


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
        if set(needed) <= set(chosen):
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


def _also(named: Mapping[str, str], *roles: str) -> dict[str, str]:
    return {role: named[role] for role in roles if role in named}


def _from_names(named: Mapping[str, str], table: "_Table") -> dict[str, str] | None:
    """The shape that the names spell out, if any."""
    messages, answer = named.get("messages"), named.get("answer")
    if messages and table.holds_conversations(messages):
        return {"messages": messages} | _also(named, "system")
    if not answer:
        return None
    instruction, prompt = named.get("instruction"), named.get("prompt")
    if instruction or (prompt and ("input" in named or "history" in named)):
        given = {"input": prompt} if instruction and prompt else {}
        also = given | _also(named, "input", "system", "history")
        return {"instruction": instruction or prompt or "", "output": answer} | also
    if prompt:
        return {"prompt": prompt, "completion": answer} | _also(named, "system")
    if source := named.get("input") or named.get("text"):
        return {"prompt": source, "completion": answer} | _also(named, "system")
    return None


class _Table:
    """Columns with their first cells."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[str | None]]) -> None:
        self.columns = columns
        self._cells = {
            name: [cell for row in rows if (cell := row[place]) and not cell.isspace()]
            for place, name in enumerate(columns)
        }

    def named(self) -> dict[str, str]:
        """Meaning → the column whose whole name says so; earlier names of a meaning win."""
        normal = {normalise(column): column for column in reversed(self.columns)}
        found = {}
        for meaning, names in KNOWN_NAMES.items():
            if name := next((name for name in names if name in normal), None):
                found[meaning] = normal[name]
        return found

    def named_in_part(self, named: Mapping[str, str]) -> dict[str, str]:
        """``named`` and the columns of text whose name holds a usual one, as in 标准答案."""
        found, taken = dict(named), set(named.values())
        for meaning, names in KNOWN_NAMES.items():
            if meaning in found:
                continue
            parts = [name for name in names if len(name) >= (5 if name.isascii() else 2)]
            for column in self.columns:
                normal = normalise(column)
                if (
                    column not in taken
                    and self.is_text(column)
                    and any(part in normal for part in parts)
                ):
                    found[meaning] = column
                    taken.add(column)
                    break
        return found

    def holds_conversations(self, column: str) -> bool:
        """Whether most cells of a column are lists of turns."""
        cells = self._cells[column][:50]
        return bool(cells) and sum(map(is_conversation, cells)) > len(cells) / 2

    def is_text(self, column: str) -> bool:
        """Whether most cells are neither numbers nor true and false."""
        cells = self._cells[column]
        return sum(not NUMBER.fullmatch(cell[:40]) for cell in cells) > len(cells) / 2

    def is_prose(self, column: str) -> bool:
        """Whether a column holds text that differs from row to row, unlike a label."""
        cells = self._cells[column]
        length = sum(map(len, cells)) / max(1, len(cells))
        return self.is_text(column) and (len(set(cells)) > len(cells) / 2 or length > 40)

    def from_cells(self) -> Guess:
        """Roles where no name helps: two columns of text are question and answer, one is text."""
        for suits in (self.is_prose, self.is_text, self._is_filled, self._any):
            if fitting := [column for column in self.columns if suits(column)]:
                break
        longest = sorted(fitting, key=self._length, reverse=True)[:2]
        if len(longest) == 1:
            return Guess(
                {"text": longest[0]},
                f"No column has a usual name, so “{longest[0]}” is taken as plain text.",
            )
        first, second = sorted(longest, key=list(self.columns).index)
        return Guess(
            {"prompt": first, "completion": second},
            f"No column has a usual name, so “{first}” is taken as the question and "
            f"“{second}” as the answer.",
        )

    def _length(self, column: str) -> int:
        return sum(map(len, self._cells[column]))

    def _is_filled(self, column: str) -> bool:
        return bool(self._cells[column])

    @staticmethod
    def _any(_: str) -> bool:
        return True
