"""The generation child as its owner sees it: a process, JSON lines in and out."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lora_engine.train import train
from tests.engine.runs import Runs

SECONDS = 120


class Child:
    """Talks to ``python -m lora_engine.serve``."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lora_engine.serve", "--home", str(home), "--device", "cpu"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )

    def send(self, **request: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()

    def events(self, number: int) -> Iterator[dict[str, Any]]:
        """The events of one request, up to its last."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            assert event["id"] == number
            yield event
            if event["event"] in ("done", "error"):
                return

    def last(self, number: int) -> dict[str, Any]:
        return list(self.events(number))[-1]

    def close(self) -> int:
        """End of its standard input ends the child."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        status = self.process.wait(SECONDS)
        self.process.stdout.close()
        return status


@pytest.fixture(scope="module")
def made(
    model_folder: Path, data_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """A trained adapter, its model, and the data folder."""
    folder = tmp_path_factory.mktemp("serve")
    runs = Runs(model_folder, data_file, folder / "home", folder)
    # gently and without dropout: what is drawn must not decide whether a tiny model answers at all
    config = runs.config(learning_rate=0.03, max_steps=6, lora={"lora_dropout": 0})
    home = folder / "home"
    home.mkdir()
    train(config, folder / "out", lambda _: None, lambda: False, home=home, device="cpu")
    return {
        "model": str(model_folder),
        "adapter": str(folder / "out" / "adapter.zip"),
        "home": str(home),
    }


@pytest.fixture(scope="module")
def child(made: dict[str, str]) -> Iterator[Child]:
    child = Child(Path(made["home"]))
    yield child
    assert child.close() == 0


def rows(made: dict[str, str], text: str = "what is the sea") -> list[dict[str, Any]]:
    messages = [{"role": "user", "content": text}]
    return [
        {"adapter": None, "strength": 1.0, "messages": messages},
        {"adapter": made["adapter"], "strength": 1.0, "messages": messages},
    ]


def test_answers_stream_and_end_with_both_texts(child: Child, made: dict[str, str]) -> None:
    request = {"op": "answer", "base_model": made["model"], "rows": rows(made)}
    child.send(id=1, **request, options={"max_new_tokens": 16}, divergence=True)
    events = list(child.events(1))
    assert events[0] == {"id": 1, "event": "status", "message": "Loading the model"}
    done = events[-1]
    assert done["event"] == "done"
    assert done["texts"][0] != done["texts"][1]
    assert done["divergence"] > 0.01
    assert not done["stopped"]
    assert len(done["cut"]) == 2
    for row in (0, 1):
        streamed = [e["text"] for e in events if e["event"] == "text" and e["row"] == row]
        assert streamed[-1].strip() == done["texts"][row].strip()

    child.send(id=2, **request, options={"max_new_tokens": 16}, divergence=False)
    again = list(child.events(2))
    assert "status" not in {event["event"] for event in again}, "the base is loaded once"
    assert again[-1]["texts"] == done["texts"]
    assert again[-1]["divergence"] is None


def test_each_of_several_adapters_has_its_own_divergence(
    child: Child, made: dict[str, str]
) -> None:
    base, adapted = rows(made)
    half = adapted | {"strength": 0.5}
    request = {"op": "answer", "base_model": made["model"], "rows": [base, adapted, half]}
    child.send(id=5, **request, options={"max_new_tokens": 8}, divergence=True)
    done = child.last(5)
    nothing, whole, part = done["divergences"]
    assert nothing is None
    assert whole == done["divergence"]
    assert 0 < part < whole
    assert len(done["texts"]) == 3


def test_stop_ends_a_request_early(child: Child, made: dict[str, str]) -> None:
    request = {"op": "answer", "base_model": made["model"], "rows": rows(made)}
    warm = {"max_new_tokens": 400, "temperature": 2.0}
    child.send(id=3, **request, options=warm)
    for event in child.events(3):
        if event["event"] == "text":
            child.send(id=4, op="stop")
            break
    done = child.last(3)
    assert done["event"] == "done"
    assert done["stopped"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"base_model": "/nowhere"}, "no folder"),
        ({"options": {"max_new_tokens": 0}}, "max_new_tokens must be at least 1"),
        ({"rows": [{"adapter": "/nowhere.zip", "messages": []}]}, "no longer there"),
        ({"rows": None}, "could not answer"),
    ],
)
def test_bad_requests_are_one_sentence_and_the_child_goes_on(
    child: Child, made: dict[str, str], changes: dict[str, Any], sentence: str
) -> None:
    request = {"op": "answer", "base_model": made["model"], "rows": rows(made)}
    child.send(id=5, **request | changes)
    answer = child.last(5)
    assert answer["event"] == "error"
    assert sentence in answer["message"]
    child.send(id=6, **request, options={"max_new_tokens": 1})
    assert child.last(6)["event"] == "done"


def test_no_event_is_lost_between_two_requests(child: Child, made: dict[str, str]) -> None:
    for number in (7, 8):
        child.send(
            id=number,
            op="answer",
            base_model=made["model"],
            rows=rows(made),
            options={"max_new_tokens": 2},
        )
    assert child.last(7)["event"] == "done"
    assert child.last(8)["event"] == "done"
