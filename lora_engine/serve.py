"""The generation child: answers requests over JSON lines on stdin and stdout.

One request at a time. A request names a base model and rows (messages, adapter, strength); what
comes back are ``status``, ``text``, and at last ``done`` or ``error`` events. ``stop`` may come
at any time. The base model is loaded once and kept until another is asked for.
"""

import argparse
import json
import logging
import queue
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

from lora_engine import adapter as adapter_files
from lora_engine import catalog
from lora_engine.adapter import Adapter
from lora_engine.data.encode import prompt_ids
from lora_engine.errors import WorkbenchError
from lora_engine.generate import Decoding, Row, Speaker
from lora_engine.model import choose_device

log = logging.getLogger(__name__)


class Service:
    """Answers requests one after another; keeps one base model and its adapters in memory."""

    def __init__(self, home: Path, out: TextIO, device: str = "auto") -> None:
        self._home = home
        self._out = out
        self._device = device
        self._speaker: tuple[str, Speaker] | None = None
        self._adapters: dict[tuple[str, int], Adapter] = {}
        self.stopped_before = 0
        """Requests with a smaller id are to end early."""

    def handle(self, request: dict[str, Any]) -> None:
        """Answer one request; every error becomes one ``error`` event."""
        number = request.get("id")
        try:
            self._answer(number, request)
        except WorkbenchError as error:
            self._tell(number, "error", message=str(error))
        except (MemoryError, RuntimeError) as error:
            log.exception("request failed")
            short = isinstance(error, MemoryError) or "out of memory" in str(error).lower()
            self._tell(
                number,
                "error",
                message="There is not enough memory for this answer; ask for fewer tokens."
                if short
                else "The model could not answer; the log says why.",
            )
        except Exception:
            log.exception("request failed")
            self._tell(number, "error", message="The model could not answer; the log says why.")

    def _answer(self, number: Any, request: dict[str, Any]) -> None:
        speaker = self._speaker_for(number, str(request["base_model"]))
        decoding = Decoding.parse(request.get("options", {}))
        rows = [self._row(speaker, row) for row in request["rows"]]
        answers = speaker.answer(
            rows,
            decoding,
            on_text=lambda row, text: self._tell(number, "text", row=row, text=text),
            should_stop=lambda: number < self.stopped_before,
        )
        divergence = None
        adapted = next((i for i, row in enumerate(rows) if row.adapter), None)
        if request.get("divergence") and adapted is not None and not answers.stopped:
            divergence = speaker.divergence(rows[adapted], answers.token_ids[adapted])
        self._tell(
            number,
            "done",
            texts=answers.texts,
            divergence=divergence,
            tokens_per_second=answers.tokens_per_second,
            stopped=answers.stopped,
        )

    def _speaker_for(self, number: Any, base_model: str) -> Speaker:
        if self._speaker is None or self._speaker[0] != base_model:
            self._speaker = None  # the old base makes room before the new one comes
            self._tell(number, "status", message="Loading the model")
            folder = catalog.resolve(
                base_model,
                self._home,
                lambda progress: self._tell(number, "status", message=progress.message),
            )
            self._speaker = base_model, Speaker.load(folder.path, choose_device(self._device))
        return self._speaker[1]

    def _row(self, speaker: Speaker, row: dict[str, Any]) -> Row:
        adapter = self._adapter(Path(row["adapter"])) if row.get("adapter") else None
        as_text = adapter is not None and (adapter.training or {}).get("task") == "text"
        ids = prompt_ids(row["messages"], speaker.tokenizer, as_text=as_text)
        return Row(ids, adapter, float(row.get("strength", 1.0)))

    def _adapter(self, path: Path) -> Adapter:
        try:
            version = path.stat().st_mtime_ns
        except OSError:
            raise WorkbenchError("This run's adapter is no longer there.") from None
        key = str(path), version
        if key not in self._adapters:
            self._adapters[key] = adapter_files.read(path)
        return self._adapters[key]

    def _tell(self, number: Any, event: str, **values: Any) -> None:
        line = json.dumps({"id": number, "event": event, **values}, ensure_ascii=False)
        self._out.write(line + "\n")
        self._out.flush()


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
