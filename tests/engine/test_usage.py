"""What the README of a zip tells people to run is Python, with every place filled in."""

import ast
import re

import pytest

from lora_engine.tasks.base import Words
from lora_engine.tasks.language import Language
from lora_engine.tasks.usage import usage_of
from tests import tiny


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("language", {"use": "Ask it."}),
        ("rewriting", {}),
        (
            "classification",
            {"labels": ["yes", "no"], "count": 2, "pad_id": 0, "example": '"a"', "pairs": "Ask."},
        ),
    ],
)
def test_the_code_can_be_run_by_a_reader(name: str, parts: dict[str, object]) -> None:
    said = usage_of(name, source="some/model", **parts)
    code = re.search(r"```python\n(.*?)```", said, re.DOTALL)
    assert code is not None
    called = {n.id for n in ast.walk(ast.parse(code.group(1))) if isinstance(n, ast.Name)}
    assert {"PeftModel", "AutoTokenizer"} <= called
    assert "'some/model'" in code.group(1)


def test_a_chat_without_a_template_of_its_own_is_told_the_one_it_was_trained_with() -> None:
    task = Language("chat")
    known = task.usage("m", Words(tiny.tokenizer(), 64, {}))
    assert "chat_template =" not in known
    assert "eos_token_id" not in known
    bare = tiny.tokenizer(chat=False)
    code = re.findall(r"```python\n(.*?)```", task.usage("m", Words(bare, 64, {})), re.DOTALL)[-1]
    exec(code, {"tokenizer": bare})  # as a reader would
    turns = [{"role": "user", "content": "Hi"}]
    assert bare.apply_chat_template(turns, tokenize=False) == "User: Hi\n\n"
    other = tiny.tokenizer()
    other.eos_token = "<|im_start|>"
    assert "end with `<|im_end|>`" in task.usage("m", Words(other, 64, {}))
