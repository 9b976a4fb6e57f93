"""What a chat model answers to a few held-out questions, before it is trained and after."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lora_engine.data.nouns import Sample
from lora_engine.errors import DataError
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
"""``line``, ``question``, ``expected`` and an answer by its name, of each row, as JSON values."""


def glimpse(model: Any, work: Work, count: int, tell: Callable[[str], None], name: str) -> Glimpse:
    """Greedy answers of ``model`` as it is to the first ``count`` held-out conversations; none for
    other tasks than chat, or where no rows are held out. ``name`` is what an answer is called.
    """
    count = min(count, len(work.validation))
    if work.task.name != "chat" or not count:
        return []
    found = work.validation.said(range(count))
    speaker = Speaker(model, work.words.tokenizer)
    asked = [
        one
        for place in sorted(found)
        if (one := _asked(found[place], speaker, work.words.max_length))
    ]
    if not asked:
        return []
    tell(f"Asking {len(asked)} held-out question{'s' if len(asked) > 1 else ''}")
    was_training = model.training
    model.eval()
    until = time.monotonic() + LONGEST_WAIT
    with without_packing(model):
        answers = speaker.answer(
            [one.row for one in asked],
            Decoding(max_new_tokens=LONGEST_ANSWER),
            should_stop=lambda: time.monotonic() > until,
        )
    model.train(was_training)
    return [
        {
            "line": one.line,
            "question": one.question[:LONGEST_SHOWN],
            "expected": one.expected[:LONGEST_SHOWN],
            name: text + ("…" if cut or answers.stopped else ""),
        }
        for one, text, cut in zip(asked, answers.texts, answers.cut, strict=True)
    ]


@dataclass(frozen=True)
class _Asked:
    line: int
    question: str
    expected: str
    row: Row


def _asked(sample: Sample, speaker: Speaker, longest: int) -> _Asked | None:
    """What a conversation's last learned answer answers; None where the model does not take that by
    itself, or where it is longer than any row that is trained on."""
    count = max((n for n, turn in enumerate(sample.messages, 1) if turn.is_learned), default=0)
    turns = [{"role": turn.role, "content": turn.content} for turn in sample.messages[:count]]
    if len(turns) < 2:
        return None
    try:
        ids = speaker.prompt_ids(turns[:-1])
    except DataError:
        return None
    if len(ids) > longest:
        return None
    return _Asked(sample.line, turns[-2]["content"], turns[-1]["content"], Row(ids))
