"""Answering a whole file with the chosen run's adapter: which, how much, and what came of it."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from app import making
from app.answers_view import answers_html
from app.file_answers import FileOptions, answer_file, latest
from app.guard import HIDDEN, Updates, at_each, handler
from app.html import CLICKS, busy, heading, notice
from app.long_work import told
from app.making import Json, Tell
from app.pieces import piece
from app.services import Services
from app.uploads import set_aside
from app.wording import answers as words
from jobs.job import Job
from lora_engine.errors import DataError

UPLOADED = "uploaded"
"""The choice that stands for the file from the person's disk."""
SHOWN_ROWS = 5


class AnswersPart:
    """A part of the panel for what comes after training."""

    def __init__(self, services: Services, run: gr.BrowserState) -> None:
        self.services = services
        self.run = run
        self._stops: dict[int, threading.Event] = {}
        """Runs that answer a file just now → what tells them to stop."""
        self.title = piece(heading(words.TITLE, words.HINT))
        self.uploaded = gr.State("")
        """Where the file from the person's disk lies."""
        with gr.Row(elem_classes="fields"):
            with gr.Column(elem_classes="field", min_width=240):
                self.data = gr.Dropdown([], label=words.DATA, elem_id="answers-data")
                self.upload = gr.UploadButton(
                    words.CHOOSE_FILE, size="sm", elem_id="answers-upload"
                )
            with gr.Column(elem_classes="field", min_width=140):
                self.limit = gr.Number(100, label=words.LIMIT, precision=0, elem_id="answers-limit")
            with gr.Column(elem_classes="field", min_width=140) as self.longest_box:
                self.longest = gr.Number(
                    128, label=words.LONGEST, precision=0, elem_id="answers-longest"
                )
        self.with_base = gr.Checkbox(False, label=words.WITH_BASE, elem_id="answers-with-base")
        with gr.Row(elem_classes="actions"):
            self.start = gr.Button(words.ANSWER, size="sm", elem_id="answer-file")
            self.stop = gr.Button(words.STOP, size="sm", visible=False, elem_id="answers-stop")
        self.place = piece(elem_classes="place", elem_id="answers-notice", js_on_load=CLICKS)
        self.result = piece(elem_classes="place", elem_id="answers")

    def connect(self, fold: gr.Accordion, outputs: list[Any]) -> list[Any]:
        """Let the controls work; gives the events that end where another run is chosen."""
        guard, quiet = handler(self.place), handler(self.place, clear=False)
        for look in (fold.expand, self.run.change):
            # without preprocessing: what was chosen may have been deleted
            chosen = [self.data, self.uploaded]
            at_each(look, quiet(self.offer), chosen, outputs, preprocess=False)
        self.upload.upload(guard(self.take), [self.upload], [*outputs, self.uploaded], **HIDDEN)
        self.stop.click(guard(self.ask_stop), [self.run], outputs, queue=False, **HIDDEN)
        inputs = [self.run, self.data, self.uploaded, self.limit, self.longest, self.with_base]
        return [self.start.click(guard(self.answer), inputs, outputs, **HIDDEN)]

    def outputs(self) -> list[Any]:
        """Everything the handlers may change, but for the uploaded file."""
        return [
            *(self.title, self.data, self.longest_box, self.with_base, self.start, self.stop),
            *(self.place, self.result),
        ]

    def blank(self) -> Updates:
        """Nothing was answered yet."""
        return {self.place: "", self.result: ""}

    def show(self, job: Job) -> Updates:
        """What applies to this run, and what it answered last."""
        task = making.task_of(job)
        hints = {"classification": words.HINT_LABELS, "text": words.HINT_TEXT}
        writes = task != "classification"
        at_work = job.id in self._stops
        return {
            self.title: heading(words.TITLE, hints.get(task, words.HINT)),
            self.longest_box: gr.update(visible=writes),
            self.with_base: gr.update(visible=writes, value=False),
            **self._working(at_work),
            self.place: notice("info", words.AT_WORK) if at_work else "",
            self.result: self._result(job),
        }

    def offer(self, chosen: str | None, uploaded: str) -> Updates:
        """The kept data sets, as they are now; an uploaded file first.

        The choice itself is touched only where it is gone: another may be made meanwhile.
        """
        choices = self._choices(uploaded)
        is_gone = bool(chosen) and all(chosen != each for _, each in choices)
        return {self.data: gr.update(choices=choices) | ({"value": None} if is_gone else {})}

    def take(self, path: str) -> Updates:
        """A file from the person's disk is one more choice; it is not kept with the data sets."""
        path = set_aside(path)
        choices = gr.update(choices=self._choices(path), value=UPLOADED)
        return {self.uploaded: path, self.data: choices}

    def _choices(self, uploaded: str) -> list[tuple[str, str]]:
        kept = [(each.name, each.dataset_id) for each in self.services.library.list()]
        name = words.UPLOADED.format(name=Path(uploaded).name)
        return [(name, UPLOADED), *kept] if uploaded else kept

    def answer(
        self,
        run: int,
        data: str | None,
        uploaded: str,
        limit: float | None,
        longest: float | None,
        with_base: bool,
    ) -> Iterator[Updates]:
        """Answer the rows; what comes of it is shown, and stays with the run."""
        job = self.services.store.get(int(run))
        source = uploaded if data == UPLOADED else data
        if not source:
            raise DataError(words.NO_DATA)
        if job.id in self._stops:
            raise DataError(words.ALREADY)
        options = FileOptions.parse({
            "limit": None if limit is None else int(limit), "with_base": bool(with_base),
            **({} if longest is None else {"max_new_tokens": int(longest)}),
        })  # fmt: skip
        yield {self.result: "", **self._working(True)}
        try:
            for step in told(self.place, lambda tell: self._answered(job, source, options, tell)):
                if isinstance(step, dict) and not self._is_stopping(job):
                    yield step
        except Exception:
            yield {self.result: self._result(job), **self._working(job.id in self._stops)}
            raise
        yield {self.place: "", self.result: self._result(job), **self._working(False)}

    def ask_stop(self, run: int) -> Updates:
        """End with the rows that are done."""
        stop = self._stops.get(int(run))
        if stop is None:
            return self._working(False)
        stop.set()
        return {self.place: busy(words.STOPPING, None)}

    def _is_stopping(self, job: Job) -> bool:
        """Whether what is being done is already told by ``ask_stop``."""
        stop = self._stops.get(job.id)
        return stop is not None and stop.is_set()

    def _answered(
        self, job: Job, source: str, options: FileOptions, tell: Tell
    ) -> tuple[Path, Json]:
        stop = threading.Event()
        if self._stops.setdefault(job.id, stop) is not stop:  # pressed in two windows at once
            raise DataError(words.ALREADY)
        try:
            return answer_file(self.services, job, source, options, tell, stop.is_set)
        finally:
            del self._stops[job.id]

    def _working(self, at_work: bool) -> Updates:
        return {
            self.start: gr.update(visible=not at_work),
            self.stop: gr.update(visible=at_work),
        }

    def _result(self, job: Job) -> str:
        """The last file that the run answered; empty where there is none."""
        made = latest(self.services, job.id)
        if made is None:
            return ""
        try:
            rows = self.services.library.peek(made[0], SHOWN_ROWS)
        except DataError:
            rows = []
        return answers_html(job, *made, rows)
