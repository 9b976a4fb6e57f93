"""What the README of a zip tells people to run is Python, with every place filled in."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_engine import adapter as adapter_files
from lora_engine.generate import Decoding, Row, Speaker
from lora_engine.tasks.base import Words
from lora_engine.tasks.language import Language
from lora_engine.tasks.usage import usage_of
from tests import tiny
from tests.engine.runs import Runs


@pytest.mark.parametrize("whole", [False, True])
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
def test_the_code_can_be_run_by_a_reader(name: str, parts: dict[str, object], whole: bool) -> None:
    said = usage_of(name, whole=whole, source="some/model", **parts)
    code = re.search(r"```python\n(.*?)```", said, re.DOTALL)
    assert code is not None
    called = {n.id for n in ast.walk(ast.parse(code.group(1))) if isinstance(n, ast.Name)}
    assert {"load_file" if whole else "PeftModel", "AutoTokenizer"} <= called
    assert ("PeftModel" in called) is not whole
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


@pytest.mark.parametrize("method", ["freeze", "full"])
def test_whole_weights_are_loaded_as_their_readme_says(
    method: str, run: Runs, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("out", max_steps=2, learning_rate=0.01, lora={"method": method})
    adapter = tmp_path / "out" / "adapter"
    readme = (adapter / "README.md").read_text("utf-8")
    assert "PEFT" not in readme
    assert "LoRA adapter made" not in readme
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    monkeypatch.chdir(tmp_path / "out")
    known: dict[str, Any] = {}
    exec(code, known)  # as a reader would
    speaker = Speaker.load(model_folder, torch.device("cpu"))
    row = Row([5, 9, 200, 31], adapter_files.read(adapter))
    expected = speaker.answer([row], Decoding(max_new_tokens=12)).token_ids[0]
    ids = torch.tensor([row.prompt_ids])
    found = (
        known["model"]
        .eval()
        .generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False
        )
    )
    assert found[0, 4 : 4 + len(expected)].tolist() == expected
