"""What a request to the generation child comes to, without the process around it."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from lora_engine.generate import Speaker
from lora_engine.serve import Service
from tests import tiny
from tests.engine.adapters import make

ASKED = [{"role": "user", "content": "the sea is"}]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny.save_model_folder(tmp_path / "model", tiny.llama(), tiny.tokenizer())


def adapter(folder: Path, model: Path, task: str) -> str:
    """An adapter that says what it learned."""
    make(folder, tiny.llama(), str(model))
    (folder / "task.json").write_text(json.dumps({"task": task}))
    return str(folder)


def answered(home: Path, model: Path, *adapters: str | None) -> dict[str, Any]:
    """The last event of a request with these rows."""
    out = io.StringIO()
    rows = [{"adapter": each, "messages": ASKED} for each in adapters]
    options = {"max_new_tokens": 3}
    Service(home, out, "cpu").handle(
        {"id": 1, "op": "answer", "base_model": str(model), "rows": rows, "options": options}
    )
    last: dict[str, Any] = json.loads(out.getvalue().splitlines()[-1])
    return last


@pytest.mark.parametrize(("task", "as_text"), [("text", True), ("chat", False)])
def test_the_base_is_asked_as_the_adapter_beside_it(
    task: str, as_text: bool, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []
    real = Speaker.answer

    def spy(self: Speaker, rows: Any, *rest: Any, **named: Any) -> Any:
        asked.extend(row.prompt_ids for row in rows)
        return real(self, rows, *rest, **named)

    monkeypatch.setattr(Speaker, "answer", spy)
    last = answered(tmp_path, model, None, adapter(tmp_path / "a", model, task))
    assert last["event"] == "done", last
    expected = tiny.tokenizer()("the sea is", add_special_tokens=False)["input_ids"]
    assert asked[0] == asked[1]
    assert (asked[0] == expected) is as_text


def test_adapters_that_are_asked_differently_are_not_compared(model: Path, tmp_path: Path) -> None:
    both = [adapter(tmp_path / task, model, task) for task in ("text", "chat")]
    last = answered(tmp_path, model, None, *both)
    assert last["event"] == "error"
    assert "cannot be compared with each other" in last["message"]
