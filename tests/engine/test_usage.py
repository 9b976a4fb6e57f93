"""What the README of a zip tells people to run is Python, with every place filled in."""

import ast
import re

import pytest

from lora_engine.tasks.usage import usage_of


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
