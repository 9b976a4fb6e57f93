"""The Playground tab: base and adapted answers side by side."""

import time
from collections.abc import Iterator
from typing import Any

import gradio as gr

from app import playground_view as view
from app.comparing import AnswerOptions, Conversations, answer, judge, sorts
from app.guard import HIDDEN, Updates, handler
from app.html import CLICKS, empty_state, help_text, notice
from app.pieces import piece
from app.runs_tab import download_link
from app.services import Services
from app.wording import playground as words
from jobs.job import Job
from lora_engine.errors import AdapterError, WorkbenchError

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
                self._build_choice()
            with gr.Column(elem_classes="wb-panel"):
                self._build_talk()
        self.guarded_ask = handler(self.notice)(self.ask)
        self._connect()

    def _build_choice(self) -> None:
        with gr.Row(elem_classes="bottom-aligned"):
            self.run = gr.Dropdown(
                [], label=words.RUN, scale=3, min_width=260, elem_id="playground-run"
            )
            self.download = piece(min_width=200, elem_id="playground-download")
        with gr.Accordion(words.OPTIONS, open=False, elem_id="answer-options"):
            with gr.Column(elem_classes="field") as self.system_box:
                self.system = gr.Textbox("", label=words.SYSTEM, lines=2, elem_id="system-text")
                piece(help_text(words.SYSTEM_HELP))
            with gr.Row(elem_classes="fields"):
                self.strength = _slide((0, 1.5, 0.05), 1, words.STRENGTH, "strength")
            with gr.Row(elem_classes="fields") as self.decoding_box:
                self.temperature = _slide((0, 1.5, 0.05), 0, words.TEMPERATURE, "temperature")
                self.max_new_tokens = _slide((8, 1024, 8), 128, words.LONGEST, "max-new-tokens")
                with gr.Column(min_width=200, elem_classes="field"):
                    self.seed = gr.Number(0, label=words.SEED[0], elem_id="answer-seed")
                    piece(help_text(words.SEED[1]))

    def _build_talk(self) -> None:
        with gr.Row(equal_height=True, elem_classes="sides"):
            self.base = piece(
                view.side_html(False, ()), js_on_load=view.FOLLOW_JS, elem_id="base-side",
                min_width=300,
            )  # fmt: skip
            self.adapted = piece(
                view.side_html(True, ()), js_on_load=view.FOLLOW_JS, elem_id="adapted-side",
                min_width=300,
            )  # fmt: skip
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
        gr.on(
            [self.send.click, self.prompt.submit],
            self.guarded_ask,
            [
                *(self.run, self.prompt, self.system, self.said),
                *(self.temperature, self.max_new_tokens, self.strength, self.seed, self.pair),
            ],
            outputs,
            concurrency_limit=4,
            **HIDDEN,
        )
        self.stop.click(self.end_answer, None, None, queue=False, **HIDDEN)
        self.clear.click(guard(self.start_over), None, outputs, **HIDDEN)
        self.run.input(guard(self.pick), [self.run], outputs, **HIDDEN)
        self.examples.click(guard(self.use_example), [self.examples_list], outputs, **HIDDEN)

    def outputs(self) -> list[Any]:
        """Everything the handlers may change."""
        return [
            *(self.empty, self.room, self.run, self.download, self.base, self.adapted, self.badge),
            *(self.notice, self.prompt, self.examples, self.examples_list, self.said),
            *(self.send, self.stop, self.pair, self.system_box, self.decoding_box),
            self.clear,
        ]

    def finished(self) -> list[Job]:
        """The runs that have an adapter, newest first."""
        store = self.services.store
        return [job for job in store.list() if not job.is_active and store.adapter_zip(job.id)]

    def refresh(self, chosen: int | None) -> Updates:
        """The list of finished runs; ``chosen`` (or the newest) is taken."""
        jobs = self.finished()
        some = bool(jobs)
        updates: Updates = {
            self.empty: gr.update(visible=not some),
            self.room: gr.update(visible=some),
        }
        if not some:
            return updates
        ids = [job.id for job in jobs]
        picked = chosen if chosen in ids else ids[0]
        choices = [(f"{job.name} (#{job.id}, {job.config.base_model})", job.id) for job in jobs]
        return updates | {self.run: gr.update(choices=choices, value=picked)} | self.pick(picked)

    def pick(self, chosen: int | None) -> Updates:
        """Begin anew with another run."""
        if chosen is None:
            return {}
        job = self.services.store.get(int(chosen))
        adapter = self.services.store.adapter_zip(job.id)
        prompts = view.example_prompts(self.services.library, job.config.dataset)
        labels = sorts(job)
        writes = gr.update(visible=not labels)
        fresh = {
            self.base: view.labels_html(False, None),
            self.adapted: view.labels_html(True, None),
        }
        return {
            **self.start_over(),
            **(fresh if labels else {}),
            self.download: download_link(job, adapter.stat().st_size) if adapter else "",
            self.examples: view.examples_html(prompts),
            self.examples_list: prompts,
            self.prompt: gr.update(
                label=words.TEXT if labels else words.PROMPT,
                placeholder=words.TEXT_PLACEHOLDER if labels else words.PROMPT_PLACEHOLDER,
            ),
            self.pair: gr.update(visible="text_pair" in (job.config.roles or {}), value=""),
            self.system_box: writes,
            self.decoding_box: writes,
            self.clear: writes,
        }

    def start_over(self) -> Updates:
        """Forget what was said."""
        return {
            self.said: Conversations(),
            self.base: view.side_html(False, ()),
            self.adapted: view.side_html(True, ()),
            self.badge: "",
        }

    def use_example(self, prompts: list[tuple[str, str]], event: gr.EventData) -> Updates:
        """Put an example into the message box, and its second text into the other."""
        place = int(event.id)
        if not 0 <= place < len(prompts):
            return {}
        first, second = prompts[place]
        return {self.prompt: first, self.pair: second}

    def end_answer(self) -> None:
        """Stop the answer that is being written."""
        self.services.generator.stop()

    def ask(
        self,
        run: int | None,
        prompt: str | None,
        system: str | None,
        said: Conversations,
        *decoding: Any,
    ) -> Iterator[Updates]:
        """Stream both answers; the conversation goes on with what came of it."""
        job = self._job(run)
        if prompt is None or not prompt.strip():
            raise EmptyPrompt(words.EMPTY_PROMPT)
        names = ("temperature", "max_new_tokens", "strength", "seed")
        *numbers, pair = decoding
        options = AnswerOptions.parse(dict(zip(names, numbers, strict=True)))
        if sorts(job):
            yield from self._judged(job, prompt, pair or "", options)
            return
        asked = said.ask(prompt)
        yield {
            self.prompt: "",
            self.badge: "",
            self.notice: notice("busy", words.BUSY),
            self.send: gr.update(interactive=False),
            self.stop: gr.update(interactive=True),
            **self._sides(asked, ["", ""]),
        }
        ready = {self.send: gr.update(interactive=True), self.stop: gr.update(interactive=False)}
        try:
            yield from self._stream(job, asked, system or "", options)
        except Exception:
            yield {self.prompt: prompt, **self._sides(said, None), **ready}
            raise
        yield ready

    def _judged(
        self, job: Job, prompt: str, pair: str, options: AnswerOptions
    ) -> Iterator[Updates]:
        yield {self.notice: notice("busy", words.BUSY), self.send: gr.update(interactive=False)}
        ready = {self.send: gr.update(interactive=True)}
        try:
            for event in judge(self.services, job, prompt, pair, options.strength):
                if event["event"] == "status":
                    yield {self.notice: notice("busy", event["message"])}
                elif event["event"] == "done":
                    base, adapted = (
                        dict(zip(event["labels"], chances, strict=True))
                        for chances in event["probabilities"]
                    )
                    yield {
                        self.notice: "",
                        self.base: view.labels_html(False, base),
                        self.adapted: view.labels_html(True, adapted),
                    }
        finally:
            yield ready

    def _job(self, run: int | None) -> Job:
        if run is None:
            raise AdapterError(words.CHOOSE_RUN)
        return self.services.store.get(int(run))

    def _stream(
        self, job: Job, asked: Conversations, system: str, options: AnswerOptions
    ) -> Iterator[Updates]:
        texts = ["", ""]
        drawn_at = 0.0
        for event in answer(self.services, job, asked, system, options):
            match event["event"]:
                case "status":
                    yield {self.notice: notice("busy", event["message"])}
                case "text":
                    texts[event["row"]] = event["text"]
                    if time.monotonic() - drawn_at > REDRAW_SECONDS:
                        drawn_at = time.monotonic()
                        yield {self.notice: "", **self._sides(asked, texts)}
                case "done":
                    said = asked.answered(event["texts"])
                    yield {
                        self.notice: "",
                        self.said: said,
                        self.badge: view.badge_html(
                            event["divergence"], event["tokens_per_second"], event["stopped"]
                        ),
                        **self._sides(said, None),
                    }

    def _sides(self, said: Conversations, partial: list[str] | None) -> Updates:
        base, adapted = partial if partial is not None else (None, None)
        return {
            self.base: view.side_html(False, said.base, base),
            self.adapted: view.side_html(True, said.adapted, adapted),
        }


def _slide(
    span: tuple[float, float, float], value: float, said: tuple[str, str], elem_id: str
) -> gr.Slider:
    """A slider over low, high and step, with its label and help."""
    low, high, step = span
    label, help_sentence = said
    with gr.Column(min_width=200, elem_classes="field"):
        slider = gr.Slider(low, high, value, step=step, label=label, buttons=[], elem_id=elem_id)
        piece(help_text(help_sentence))
    return slider
