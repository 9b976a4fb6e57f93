"""The generation child: answers requests over JSON lines on stdin and stdout.

One request at a time. What comes back are ``status`` events, and at last ``done`` or ``error``.
``stop`` may come at any time. The base model is loaded once and kept until another is asked for; it
is held in the bits that the adapters of the request were trained on, for the base's own rows, too.
Where they learned plain text, the last message is text to go on with, for all rows.

    → {"id": 1, "op": "answer", "base_model": M, "rows": [{"adapter": null | path, "strength": 1.0,
       "messages": [{"role", "content"}, …]}, …], "options": {…}, "divergence": true}
    ← {"id": 1, "event": "text", "row": 0, "text": "all of it so far"}      (many)
    ← {"id": 1, "event": "done", "texts": […], "divergence": 0.4 | null,
       "divergences": [null, 0.4, …], "tokens_per_second": 20.1, "stopped": false,
       "cut": [false, true, …]}

    → {"id": 2, "op": "classify", "base_model": M, "rows": [{"adapter": null | path,
       "strength": 1.0, "text": "…", "text_pair": ""}, …]}
    ← {"id": 2, "event": "done", "labels": ["no", "yes"], "probabilities": [[0.5, 0.5], …]}

A row of ``classify`` may also hold its pair as one ``text`` with a tab between the two. Its base
model (adapter null) is the model with the head that the adapters of the request began from: the
same each time, but untrained, unless the model brings a head of its own. With no adapter in the
request the model must bring one.
"""

import argparse
import gc
import json
import logging
import queue
import sys
import threading
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, TextIO, TypeVar, cast

from lora_engine import adapter as adapter_files
from lora_engine import catalog
from lora_engine.adapter import Adapter
from lora_engine.base_form import base_form
from lora_engine.classify import (
    Judge,
    Question,
    head_of,
    own_head,
    split_pair,
)
from lora_engine.errors import AdapterError, WorkbenchError
from lora_engine.finite import finite
from lora_engine.generate import Decoding, Row, Speaker
from lora_engine.lack_of_memory import is_out_of_memory
from lora_engine.lora.switch import MOST_LOADED
from lora_engine.model import choose_device
from lora_engine.progress import Progress

log = logging.getLogger(__name__)

NO_MEMORY = (
    "There is not enough memory for this answer: ask for fewer tokens, or again when no run is "
    "being trained."
)
Loaded = TypeVar("Loaded", Speaker, Judge)
Adapters = Sequence[Adapter | None]
"""Of a request's rows; None is the base model."""


class Service:
    """Answers requests one after another; keeps one base model and its adapters in memory."""

    def __init__(self, home: Path, out: TextIO, device: str = "auto") -> None:
        self._home = home
        self._out = out
        self._device = device
        self._loaded: tuple[Hashable, Speaker | Judge] | None = None
        self._adapters: dict[str, tuple[int, Adapter]] = {}
        """Path → version and adapter; the least recently used first."""
        self.stopped_before = 0
        """Requests with a smaller id are to end early."""

    def handle(self, request: dict[str, Any]) -> None:
        """Answer one request; every error becomes one ``error`` event."""
        number = request.get("id")
        try:
            operations = {"answer": self._answer, "classify": self._classify}
            operations[request.get("op", "answer")](number, request)
        except WorkbenchError as error:
            self._tell(number, "error", message=str(error))
        except (MemoryError, RuntimeError) as error:
            log.exception("request failed")
            short = is_out_of_memory(error)
            self._tell(
                number,
                "error",
                message=NO_MEMORY if short else "The model could not answer; the log says why.",
            )
        except Exception:
            log.exception("request failed")
            self._tell(number, "error", message="The model could not answer; the log says why.")

    def _answer(self, number: Any, request: dict[str, Any]) -> None:
        adapters = [self._adapter_of(row) for row in request["rows"]]
        speaker = self._speaker_for(number, str(request["base_model"]), adapters)
        decoding = Decoding.parse(request.get("options", {}))
        as_text = _goes_on(adapters)
        rows = [
            _row(speaker, row, adapter, as_text)
            for row, adapter in zip(request["rows"], adapters, strict=True)
        ]
        answers = speaker.answer(
            rows,
            decoding,
            on_text=lambda row, text: self._tell(number, "text", row=row, text=text),
            should_stop=lambda: number < self.stopped_before,
        )
        divergences: list[float | None] = [None] * len(rows)
        if request.get("divergence") and not answers.stopped:
            for i, row in enumerate(rows):
                if row.adapter:
                    divergences[i] = speaker.divergence(row, answers.token_ids[i])
        adapted = next((i for i, row in enumerate(rows) if row.adapter), 0)
        self._tell(
            number,
            "done",
            texts=answers.texts,
            divergence=divergences[adapted],
            divergences=divergences,
            tokens_per_second=answers.tokens_per_second,
            stopped=answers.stopped,
            cut=answers.cut,
        )

    def _classify(self, number: Any, request: dict[str, Any]) -> None:
        rows = request["rows"]
        adapters = [self._adapter_of(row) for row in rows]
        judge = self._judge_for(number, str(request["base_model"]), adapters)
        questions = []
        for row, adapter in zip(rows, adapters, strict=True):
            text, pair = str(row["text"]), str(row.get("text_pair") or "")
            text, pair = (text, pair) if pair else split_pair(text)
            questions.append(Question(text, pair, adapter, float(row.get("strength", 1.0))))
        found = judge.probabilities(questions)
        self._tell(number, "done", labels=list(judge.labels), probabilities=found)

    def _speaker_for(self, number: Any, base_model: str, adapters: Adapters) -> Speaker:
        form = base_form([each.settings for each in adapters if each])

        def load(folder: Path) -> Speaker:
            return Speaker.load(folder, choose_device(self._device), form)

        return self._kept(number, base_model, ("answer", form), load)

    def _judge_for(self, number: Any, base_model: str, adapters: Adapters) -> Judge:
        form = base_form([each.settings for each in adapters if each])
        folder = self._folder(number, base_model)
        heads = [head_of(each, folder) for each in adapters if each] or [own_head(folder)]
        if any(head.labels != heads[0].labels for head in heads):
            raise WorkbenchError("These adapters have different labels and cannot be compared.")

        def load(folder: Path) -> Judge:
            return Judge(folder, heads[0], choose_device(self._device), form)

        return self._kept(number, base_model, ("classify", heads[0], form), load)

    def _kept(
        self, number: Any, base_model: str, how: Hashable, load: Callable[[Path], Loaded]
    ) -> Loaded:
        """The model that ``load`` makes of a base model, from memory where it is the last one."""
        key = base_model, how
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None  # the old base makes room before the new one comes
            gc.collect()  # its hooks hold it in a circle
            self._tell(number, "status", message="Loading the model")
            self._loaded = key, load(self._folder(number, base_model))
        return cast(Loaded, self._loaded[1])

    def _folder(self, number: Any, base_model: str) -> Path:
        def report(progress: Progress) -> None:
            self._tell(number, "status", message=progress.message)

        return catalog.resolve(base_model, self._home, report).path

    def _adapter_of(self, row: dict[str, Any]) -> Adapter | None:
        return self._adapter(Path(row["adapter"])) if row.get("adapter") else None

    def _adapter(self, path: Path) -> Adapter:
        try:
            version = path.stat().st_mtime_ns
        except OSError:
            raise WorkbenchError("This run's adapter is no longer there.") from None
        kept = self._adapters.pop(str(path), None)
        if kept is None or kept[0] != version:
            kept = None  # an adapter may be a whole model: the old one makes room first
            while len(self._adapters) >= MOST_LOADED:
                self._adapters.pop(next(iter(self._adapters)))
            kept = version, adapter_files.read(path)
        self._adapters[str(path)] = kept
        return kept[1]

    def _tell(self, number: Any, event: str, **values: Any) -> None:
        line = json.dumps(finite({"id": number, "event": event, **values}), ensure_ascii=False)
        self._out.write(line + "\n")
        self._out.flush()


def _row(speaker: Speaker, row: dict[str, Any], adapter: Adapter | None, as_text: bool) -> Row:
    ids = speaker.prompt_ids(row["messages"], as_text=as_text)
    return Row(ids, adapter, float(row.get("strength", 1.0)))


def _goes_on(adapters: Adapters) -> bool:
    """Whether what is asked is text to go on with, for the base as for its adapters.

    Raises:
        AdapterError: some learned plain text and some conversations.
    """
    learned = {adapter.settings.task == "text" for adapter in adapters if adapter}
    if len(learned) > 1:
        raise AdapterError(
            "Adapters that go on with a text and adapters that answer messages are asked in "
            "different ways and cannot be compared with each other; choose others."
        )
    return learned == {True}


def main() -> None:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(prog="python -m lora_engine.serve", description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    events = sys.stdout
    events.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout = sys.stderr  # a library's print must not break the protocol
    service = Service(arguments.home, events, arguments.device)
    requests: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            request = json.loads(line)
            if request.get("op") == "stop":
                service.stopped_before = request["id"]
            else:
                requests.put(request)
        service.stopped_before = sys.maxsize
        requests.put(None)

    threading.Thread(target=listen, daemon=True).start()
    while (request := requests.get()) is not None:
        service.handle(request)


if __name__ == "__main__":
    main()
