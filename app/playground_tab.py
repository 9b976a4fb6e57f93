"""The Playground tab: answers of the base and of adapters side by side."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import Any

import gradio as gr

from app import playground_view as view
from app.answer_controls import AnswerControls, options_of
from app.comparing import AnswerOptions, Conversations, answer, judge, sorts
from app.guard import HIDDEN, Updates, handler
from app.html import CLICKS, empty_state, notice
from app.pieces import piece
from app.run_choice import RunChoice
from app.services import Services
from app.sides import Sides
from app.talks import Talks
from app.wording import playground as words
from jobs.generation import Withdrawn
from jobs.job import Job
from lora_engine.errors import WorkbenchError

REDRAW_SECONDS = 0.08
"""Streaming text is drawn at most this often."""


class EmptyPrompt(WorkbenchError):  # noqa: N818 (a sentence, not a fault)
    """Nothing was asked."""


class PlaygroundTab:
    """Layout and handlers; what was said lives in the session's ``said``."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.said = gr.State(Conversations())
        self.examples_list = gr.State([])
        self.empty = piece(empty_state(words.NONE_TITLE, words.NONE_HINT), elem_classes="wb-panel")
        with gr.Column(visible=False) as self.room:
            with gr.Column(elem_classes="wb-panel"):
                self.choice = RunChoice(services)
                self.controls = AnswerControls()
            with gr.Column(elem_classes="wb-panel"):
                self._build_talk()
        self.talks = Talks()
        self.guarded_ask = handler(self.notice)(self.ask)
        self._connect()

    def _build_talk(self) -> None:
        self.sides = Sides()
        self.badge = piece(elem_id="divergence")
        self.notice = piece(elem_classes="place", elem_id="playground-notice")
        self.prompt = gr.Textbox(
            label=words.PROMPT, placeholder=words.PROMPT_PLACEHOLDER, lines=1, max_lines=10,
            elem_id="prompt",
        )  # fmt: skip
        self.pair = gr.Textbox(
            label=words.PAIR, lines=1, max_lines=10, visible=False, elem_id="second-text"
        )
        self.examples = piece(js_on_load=CLICKS, elem_id="examples")
        with gr.Row(elem_classes="actions"):
            self.send = gr.Button(words.SEND, variant="primary", elem_id="send")
            self.stop = gr.Button(words.STOP, interactive=False, elem_id="stop-answer")
            self.clear = gr.Button(words.CLEAR, elem_id="clear")

    def _connect(self) -> None:
        outputs = self.outputs()
        guard = handler(self.notice)
        chosen = self.choice.inputs
        gr.on(
            [self.send.click, self.prompt.submit],
            self.guarded_ask,
            [
                *(*chosen, self.prompt, self.controls.system, self.said),
                *(*self.controls.inputs, self.pair),
            ],
            outputs,
            concurrency_limit=4,
            **HIDDEN,
        )
        self.stop.click(self.end_answer, None, None, queue=False, **HIDDEN)
        self.clear.click(guard(self.anew(self.start_over)), chosen, outputs, **HIDDEN)
        self.choice.run.input(guard(self.anew(self.pick)), [self.choice.run], outputs, **HIDDEN)
        self.choice.others.input(guard(self.anew(self.start_over)), chosen, outputs, **HIDDEN)
        example = guard(self.use_example)
        self.examples.click(example, [self.examples_list], outputs, queue=False, **HIDDEN)

    def outputs(self) -> list[Any]:
        """Everything the handlers may change."""
        return [
            *(self.empty, self.room, *self.choice.outputs()),
            *(*self.sides.outputs(), self.badge, self.notice, self.prompt, self.examples),
            *(self.examples_list, self.said, self.send, self.stop, self.pair, self.clear),
            *self.controls.outputs(),
        ]

    def refresh(self, chosen: int | None) -> Updates:
        """The list of finished runs; ``chosen`` (or the newest) is taken, and begins anew."""
        jobs = self.choice.finished()
        if not jobs:
            return self._open(False)
        ids = [job.id for job in jobs]
        picked = chosen if chosen in ids else ids[0]
        return {**self._open(True), **self.choice.offer(jobs, picked), **self.pick(picked)}

    def anew(self, change: Callable[..., Updates]) -> Callable[..., Updates]:
        """``change`` begins another conversation: what is still being written for its window ends,
        and must not appear in it."""

        def call(request: gr.Request, *inputs: Any) -> Updates:
            updates = change(*inputs)
            if self.talks.leave(str(request.session_hash)):
                self.end_answer(request)
            return updates

        return call

    def look_again(
        self, request: gr.Request, chosen: int | None, others: list[int] | None
    ) -> Updates:
        """The tab is opened: newer runs are offered, and what was said stays."""
        jobs = self.choice.finished()
        ids = {job.id for job in jobs}
        if chosen not in ids or not set(others or ()) <= ids:
            return self.anew(self.refresh)(request, chosen)
        job = self.services.store.get(int(chosen))
        return {
            **self._open(True),
            **self.choice.offer(jobs, job.id),
            **self.choice.offer_others(job, others or ()),
        }

    def _open(self, some: bool) -> Updates:
        return {self.empty: gr.update(visible=not some), self.room: gr.update(visible=some)}

    def pick(self, chosen: int | None) -> Updates:
        """Begin anew with another run."""
        if chosen is None:
            return {}
        job = self.services.store.get(int(chosen))
        prompts = view.example_prompts(self.services.library, job.config.dataset)
        labels = sorts(job)
        return {
            **self.start_over(job.id, []),
            **self.choice.offer_others(job),
            **self.choice.link(job),
            self.examples: view.examples_html(prompts),
            self.examples_list: prompts,
            self.prompt: gr.update(
                label=words.TEXT if labels else words.PROMPT,
                placeholder=words.TEXT_PLACEHOLDER if labels else words.PROMPT_PLACEHOLDER,
            ),
            self.pair: gr.update(visible="text_pair" in (job.config.roles or {}), value=""),
            **self.controls.shown(not labels),
            self.clear: gr.update(visible=not labels),
        }

    def start_over(self, run: int | None, others: list[int] | None) -> Updates:
        """Forget what was said; a column for each chosen run."""
        jobs = self.choice.jobs(run, others)
        count = len(jobs) + 1
        labels = bool(jobs) and sorts(jobs[0])
        send, send_all = (words.SORT, words.SORT_ALL) if labels else (words.SEND, words.SEND_ALL)
        asking = words.PROMPT_PLACEHOLDER if count < 3 else words.PROMPT_PLACEHOLDER_ALL
        return {
            self.said: Conversations.begin(len(jobs)),
            **self.sides.fresh(jobs),
            self.badge: "",
            self.send: send if count < 3 else send_all.format(count=count),
            self.prompt: gr.update(placeholder=words.TEXT_PLACEHOLDER if labels else asking),
        }

    def use_example(self, prompts: list[tuple[str, str]], event: gr.EventData) -> Updates:
        """Put an example into the message box, and its second text into the other."""
        place = int(event.id)
        if not 0 <= place < len(prompts):
            return {}
        first, second = prompts[place]
        return {self.prompt: first, self.pair: second}

    def end_answer(self, request: gr.Request) -> None:
        """Stop the answer that is being written for this window, or waits to be."""
        self.services.generator.stop(str(request.session_hash))

    def ask(
        self,
        request: gr.Request,
        run: int | None,
        others: list[int] | None,
        prompt: str | None,
        system: str | None,
        said: Conversations,
        *decoding: Any,
    ) -> Iterator[Updates]:
        """Stream all answers; the conversation goes on with what came of it."""
        jobs = self.choice.jobs(run, others)
        if prompt is None or not prompt.strip():
            raise EmptyPrompt(words.EMPTY_PROMPT)
        *numbers, pair = decoding
        options = options_of(tuple(numbers))
        asker = str(request.session_hash)
        with self.talks.begun(asker) as talk:
            yield {self.notice: notice("busy", words.BUSY), **self._at_work(True)}
            steps = self._answers(asker, jobs, said, prompt, (system or "", pair or ""), options)
            try:
                with closing(steps):
                    for step in steps:
                        if talk.left:
                            break
                        yield step
            except Exception:
                if not talk.left:
                    yield self._at_work(False)
                    raise
            # another is asked only after this, so it cannot be about that one
            yield {**({self.notice: ""} if talk.left else {}), **self._at_work(False)}

    def _answers(
        self,
        asker: str,
        jobs: Sequence[Job],
        said: Conversations,
        prompt: str,
        extra: tuple[str, str],
        options: AnswerOptions,
    ) -> Generator[Updates, None, None]:
        system, pair = extra
        try:
            if sorts(jobs[0]):
                yield from self._judged(asker, jobs, prompt, pair, options)
                return
            if len(said.sides) != len(jobs) + 1:
                said = Conversations.begin(len(jobs))
            yield from self._spoken(asker, jobs, said, prompt, system, options)
        except Withdrawn as taken_back:
            yield {self.notice: notice("info", str(taken_back))}

    def _at_work(self, busy: bool) -> Updates:
        """While answers are written nothing else is asked, and the columns stay as they are."""
        return {
            self.send: gr.update(interactive=not busy),
            self.stop: gr.update(interactive=busy),
            **self.choice.held(busy),
        }

    def _spoken(
        self,
        asker: str,
        jobs: Sequence[Job],
        said: Conversations,
        prompt: str,
        system: str,
        options: AnswerOptions,
    ) -> Iterator[Updates]:
        asked = said.ask(prompt)
        blank = [""] * len(asked.sides)
        yield {self.prompt: "", self.badge: "", **self.sides.said(jobs, asked, blank)}
        try:
            yield from self._stream(asker, jobs, asked, system, options)
        except Exception:
            yield {self.prompt: prompt, **self.sides.said(jobs, said)}
            raise

    def _judged(
        self, asker: str, jobs: Sequence[Job], prompt: str, pair: str, options: AnswerOptions
    ) -> Iterator[Updates]:
        for event in judge(self.services, jobs, prompt, pair, options.strength, asker):
            if event["event"] == "status":
                yield {self.notice: notice("busy", event["message"])}
            elif event["event"] == "done":
                drawn = self.sides.sorted(jobs, event["labels"], event["probabilities"])
                yield {self.notice: "", **drawn}

    def _stream(
        self,
        asker: str,
        jobs: Sequence[Job],
        asked: Conversations,
        system: str,
        options: AnswerOptions,
    ) -> Iterator[Updates]:
        texts = [""] * len(asked.sides)
        drawn_at = 0.0
        for event in answer(self.services, jobs, asked, system, options, asker):
            match event["event"]:
                case "status":
                    yield {self.notice: notice("busy", event["message"])}
                case "text":
                    texts[event["row"]] = event["text"]
                    if time.monotonic() - drawn_at > REDRAW_SECONDS:
                        drawn_at = time.monotonic()
                        yield {self.notice: "", **self.sides.said(jobs, asked, texts)}
                case "done":
                    yield self._answered(jobs, asked.answered(event["texts"]), event)

    def _answered(self, jobs: Sequence[Job], said: Conversations, event: Any) -> Updates:
        """The whole answers; how far each is from the base stands below it, or in the badge."""
        several = len(jobs) > 1
        unsaid = event["divergences"] if several else [None] * len(said.sides)
        notes = view.notes_html(unsaid, event["cut"])
        divergence = None if several else event["divergence"]
        speed, stopped = event["tokens_per_second"], event["stopped"]
        badge = view.badge_html(divergence, speed, stopped, explained=several)
        return {
            self.notice: "",
            self.said: said,
            self.badge: badge,
            **self.sides.said(jobs, said, None, notes),
        }
