"""What a chat model answers to a few held-out questions, before it is trained and after."""

import time
from collections.abc import Callable
from typing import Any

from lora_engine.data.nouns import Sample
from lora_engine.fast.attention import without_packing
from lora_engine.generate import Decoding, Row, Speaker
from lora_engine.prepare import Work

LONGEST_ANSWER = 80
"""Tokens; enough to see a manner, and soon written."""
LONGEST_WAIT = 30.0
"""Seconds after which answers stay as they are: a large model on a CPU writes slowly."""
LONGEST_SHOWN = 1000
"""Characters of a question or an expected answer."""

Glimpse = list[dict[str, Any]]
"""``{"line", "question", "expected", "answer"}`` of each row, as JSON values."""


def glimpse(model: Any, work: Work, count: int, tell: Callable[[str], None]) -> Glimpse:
    """Greedy answers of ``model`` as it is to the first ``count`` held-out conversations; none for
    other tasks than chat, or where no rows are held out.
    """
    count = min(count, len(work.validation))
    if work.task.name != "chat" or not count:
        return []
    found = work.validation.said(range(count))
    asked = [
        (found[place].line, *split)
        for place in sorted(found)
        if (split := _last_answer(found[place]))
    ]
    if not asked:
        return []
    tell(f"Asking {len(asked)} held-out question{'s' if len(asked) > 1 else ''}")
    was_training = model.training
    model.eval()
    with without_packing(model):
        speaker = Speaker(model, work.words.tokenizer)
        rows = [Row(speaker.prompt_ids(before)) for _, before, _ in asked]
        until = time.monotonic() + LONGEST_WAIT
        answers = speaker.answer(
            rows,
            Decoding(max_new_tokens=LONGEST_ANSWER),
            should_stop=lambda: time.monotonic() > until,
        )
    model.train(was_training)
    cut = [stopped or answers.stopped for stopped in answers.cut]
    return [
        {
            "line": line,
            "question": before[-1]["content"][:LONGEST_SHOWN],
            "expected": expected[:LONGEST_SHOWN],
            "answer": text + ("…" if more else ""),
        }
        for (line, before, expected), text, more in zip(asked, answers.texts, cut, strict=True)
    ]


def side_by_side(before: Glimpse, after: Glimpse) -> Glimpse:
    """The same questions with ``before`` and ``after`` in place of ``answer``."""
    return [
        {**{k: v for k, v in one.items() if k != "answer"}, "before": one["answer"]}
        | {"after": other["answer"]}
        for one, other in zip(before, after, strict=False)
    ]


def _last_answer(sample: Sample) -> tuple[list[dict[str, str]], str] | None:
    """The turns before a conversation's last answer, and that answer."""
    turns = [{"role": turn.role, "content": turn.content} for turn in sample.messages]
    while turns and turns[-1]["role"] != "assistant":
        turns.pop()
    return (turns[:-1], turns[-1]["content"]) if len(turns) > 1 else None
