"""What can be done with the chosen run's adapter."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from app import making
from app.after_view import exported_html, made_html, ranks_html
from app.answers_part import AnswersPart
from app.clock import file_size
from app.guard import HIDDEN, Updates, at_each, handler
from app.html import CLICKS, heading, muted
from app.long_work import told
from app.memory import Memory
from app.pieces import piece
from app.services import Services
from app.wording import after as words
from jobs.job import Job
from lora_engine.errors import SettingsError, WorkbenchError


class AfterPanel:
    """Folded away under a finished run; each part says at its own place what it is doing."""

    def __init__(self, services: Services, memory: Memory) -> None:
        self.services = services
        self.run = memory.run
        self.panel = gr.Column(visible=False, elem_classes="wb-panel")
        self.fold = gr.Accordion(words.TITLE, open=False, elem_id="after-training", render=False)
        with self.panel:
            self.fold.render()  # type: ignore[no-untyped-call]
            with self.fold:
                self._build()
        self._connect()

    def _build(self) -> None:
        self.answers = AnswersPart(self.services, self.run)
        with gr.Column() as self.ranks_box:
            self._build_ranks()
        piece(heading(words.FURTHER_TITLE, words.FURTHER_HINT))
        self.further = _lone_button(words.FURTHER, "train-further")
        self.further_place = _place("further-notice")
        self.export_title = piece(heading(words.EXPORT_TITLE, words.EXPORT_HINT))
        with gr.Row(elem_classes="actions"):
            self.gguf = gr.Button(words.GGUF, size="sm", elem_id="export-gguf")
            self.merged = gr.Button(words.MERGED, size="sm", elem_id="export-merged")
        self.merge_hint = piece(elem_id="merge-hint")
        self.export_place = _place("export-notice")
        self.exported = {
            "gguf": piece(elem_classes="place", elem_id="exported-gguf"),
            "merged": piece(elem_classes="place", elem_id="exported-merged"),
        }
        with gr.Column() as self.sum_box:
            self._build_combine()

    def _build_ranks(self) -> None:
        piece(heading(words.RANKS_TITLE, words.RANKS_HINT))
        self.measure = _lone_button(words.RANKS, "measure-ranks")
        self.ranks_place = _place("ranks-notice")
        self.ranks = piece(elem_classes="place", elem_id="ranks")
        piece(heading(words.SHRINK_TITLE, words.SHRINK_HINT))
        with gr.Row(elem_classes="actions bottom-aligned"):
            self.shrink_r = gr.Number(4, label=words.SHRINK_R, precision=0, elem_id="shrink-r")
            self.shrink = gr.Button(words.SHRINK, size="sm", elem_id="shrink")
        self.shrink_place = _place("shrink-notice")

    def _build_combine(self) -> None:
        piece(heading(words.COMBINE_TITLE, words.COMBINE_HINT))
        self.combine_none = piece(muted(words.COMBINE_NONE_YET), elem_id="combine-none")
        with gr.Column(visible=False) as self.combine_box:
            with gr.Row(elem_classes="fields"):
                with gr.Column(elem_classes="field", min_width=200):
                    self.others = gr.Dropdown(
                        [], label=words.COMBINE_OTHERS, multiselect=True,
                        max_choices=making.MOST_COMBINED - 1, elem_id="combine-others",
                    )  # fmt: skip
                with gr.Column(elem_classes="field", min_width=120):
                    self.weight = gr.Number(0.5, label=words.COMBINE_WEIGHT, step=0.1)
                with gr.Column(elem_classes="field", min_width=120):
                    self.weights_others = gr.Textbox(
                        "0.5", label=words.COMBINE_WEIGHTS_OTHERS, max_lines=1,
                        placeholder=words.COMBINE_WEIGHTS_HINT, elem_id="combine-weights",
                    )  # fmt: skip
                with gr.Column(elem_classes="field", min_width=240):
                    self.method = gr.Dropdown(
                        list(words.COMBINE_METHODS), value="svd", label=words.COMBINE_METHOD
                    )
                with gr.Column(elem_classes="field", min_width=120):
                    # a number that Gradio takes out for a while comes back as 0
                    self.combine_r = gr.Textbox(
                        label=words.COMBINE_R, max_lines=1, elem_id="combine-r"
                    )
            self.combine = _lone_button(words.COMBINE, "combine")
        self.combine_place = _place("combine-notice")

    def _connect(self) -> None:
        outputs = self.outputs()
        at_work: list[Any] = [
            button.click(handler(place)(work), [self.run, *inputs], outputs, **HIDDEN)
            for button, place, work, inputs in (
                (self.measure, self.ranks_place, self.measure_ranks, []),
                (self.shrink, self.shrink_place, self.make_smaller, [self.shrink_r]),
                (self.gguf, self.export_place, self.export_gguf, []),
                (self.merged, self.export_place, self.export_merged, []),
                (
                    self.combine, self.combine_place, self.add_up,
                    [
                        *(self.others, self.weight, self.weights_others),
                        *(self.method, self.combine_r),
                    ],
                ),
            )
        ]  # fmt: skip
        at_work += self.answers.connect(self.fold, outputs)
        # What is still being done for one run must not appear under another.
        at_each(
            self.run.change,
            handler(self.ranks_place)(self.show), [self.run], outputs, cancels=at_work,
        )  # fmt: skip
        self.fold.expand(
            handler(self.combine_place)(self.offer_others), [self.run, self.others], outputs,
            preprocess=False, **HIDDEN,
        )  # fmt: skip
        self.method.change(
            handler(self.combine_place)(self.pick_way), [self.method], outputs, **HIDDEN
        )
        for place in (self.shrink_place, self.combine_place):
            place.click(handler(place)(self.open_made), None, [self.run, place], **HIDDEN)

    def outputs(self) -> list[Any]:
        """Everything the handlers may change."""
        return [
            *(self.panel, self.ranks, *self.exported.values(), self.others, self.combine_box),
            *(self.ranks_box, self.sum_box, self.gguf, self.export_title, self.combine_r),
            *(self.combine_none, self.shrink_r, self.merge_hint, *self._places()),
            *self.answers.outputs(),
        ]

    def _places(self) -> tuple[gr.HTML, ...]:
        return (
            *(self.ranks_place, self.shrink_place, self.further_place),
            *(self.export_place, self.combine_place),
        )

    def show(self, run: int) -> Updates:
        """Another run was chosen; what it will have is made ready while it still trains."""
        job = self._job(run)
        if job is None:
            return {self.panel: gr.update(visible=False)}
        has_pairs = job.config.lora.method == "lora"
        can_be_gguf = making.can_be_gguf(job)
        hint = words.EXPORT_HINT if can_be_gguf else words.EXPORT_HINT_MERGED
        hint = hint if has_pairs else words.EXPORT_HINT_WHOLE
        return {
            self.ranks_box: gr.update(visible=has_pairs),
            self.sum_box: gr.update(visible=making.can_be_added(job)),
            self.gguf: gr.update(visible=can_be_gguf),
            self.export_title: heading(words.EXPORT_TITLE, hint),
            self.panel: gr.update(visible=self._has_ended(job)),
            **self.blank(),
            self.shrink_r: max(1, job.config.lora.r // 2),
            self.merge_hint: muted(self._merge_sentence(job)),
            **self._begin_sum(run),
            **self.answers.show(job),
        }

    def blank(self) -> Updates:
        """Nothing was measured or made of the adapter yet."""
        old = dict.fromkeys((self.ranks, *self.exported.values(), *self._places()), "")
        return {**old, **self.answers.blank()}

    def offer_others(self, run: int, chosen: list[int] | None = None) -> Updates:
        """The runs that this one could be added to, as they are now.

        The choice itself is touched only where a run of it is gone: another may be made meanwhile.
        """
        job = self._job(run)
        others = making.others(self.services, job) if job and making.can_be_added(job) else ()
        choices = [
            (f"{each.name} (#{each.id})", each.id) for each in others if making.can_be_added(each)
        ]
        before, there = chosen or [], {run for _, run in choices}
        left = [each for each in before if each in there]
        return {
            self.combine_none: gr.update(visible=not choices),
            self.combine_box: gr.update(visible=bool(choices)),
            self.others: gr.update(choices=choices) | ({"value": left} if left != before else {}),
        }

    def _begin_sum(self, run: int) -> Updates:
        """The same for another run: what was chosen for the one before goes."""
        offered = self.offer_others(run)
        return {**offered, self.others: offered[self.others] | {"value": []}}

    def _merge_sentence(self, job: Job) -> str:
        """How large a merged model will be, where that is known at once, and where it will lie."""
        base = job.config.base_model
        if not self.services.knows_profile(base):
            return words.MERGE_HINT
        size = making.merged_bytes(self.services.profile(base))
        return words.MERGE_HINT_SIZE.format(size=file_size(size)) + words.MERGE_HINT

    def _job(self, run: int) -> Job | None:
        """The chosen run, where there is one."""
        try:
            return self.services.store.get(int(run))
        except (WorkbenchError, TypeError, ValueError):
            return None

    def _has_ended(self, job: Job) -> bool:
        """Whether something came of it."""
        return not job.is_active and self.services.store.adapter_zip(job.id) is not None

    def _needed(self, run: int) -> Job:
        return self.services.store.get(int(run))

    def measure_ranks(self, run: int) -> Iterator[Updates]:
        """Draw what each module learned."""
        job, place = self._needed(run), self.ranks_place
        for step in told(place, lambda tell: (making.rank_report(self.services, job, tell),)):
            if isinstance(step, tuple):
                yield {self.ranks: ranks_html(step[0]), place: ""}
            else:
                yield step

    def make_smaller(self, run: int, r: float | None) -> Iterator[Updates]:
        """Cut to a smaller rank; the result is a new line in the list."""
        job, place = self._needed(run), self.shrink_place
        if r is None:
            raise SettingsError("r", words.SHRINK_NO_RANK)
        for step in told(place, lambda tell: making.shrink(self.services, job, int(r), tell)):
            yield {place: made_html(*step)} if isinstance(step, tuple) else step

    def pick_way(self, method: str) -> Updates:
        """Only one of the ways has a rank of its own."""
        return {self.combine_r: gr.update(visible=method == "svd")}

    def add_up(
        self,
        run: int,
        others: list[int] | None,
        weight: float,
        weights_others: str,
        method: str,
        r: str,
    ) -> Iterator[Updates]:
        """Combine with other runs; the result is a new line in the list."""
        if not others:
            raise SettingsError("job_ids", words.COMBINE_NONE)
        jobs, place = [self._needed(each) for each in (run, *others)], self.combine_place
        weights = [weight or 0.0, *making.read_weights(weights_others, len(others))]
        form = {"method": method, "r": making.read_rank(r) if method == "svd" else None}
        for step in told(
            place, lambda tell: making.combine(self.services, jobs, weights, form, tell)
        ):
            yield {place: made_html(*step)} if isinstance(step, tuple) else step

    def open_made(self, event: gr.EventData) -> Updates:
        """Show the run that came of it."""
        return {self.run: self._needed(int(event.id)).id}

    def export_gguf(self, run: int) -> Iterator[Updates]:
        """A zip for llama.cpp and Ollama."""
        yield from self._export(run, "gguf")

    def export_merged(self, run: int) -> Iterator[Updates]:
        """A folder with the whole model."""
        yield from self._export(run, "merged")

    def _export(self, run: int, form: str) -> Iterator[Updates]:
        job, place = self._needed(run), self.export_place
        for step in told(place, lambda tell: making.export(self.services, job, form, tell)):
            if isinstance(step, tuple):
                yield {self.exported[form]: exported_html(job, form, *step), place: ""}
            else:
                yield step


def _lone_button(label: str, elem_id: str) -> gr.Button:
    """A button as wide as its label."""
    with gr.Row(elem_classes="actions"):
        return gr.Button(label, size="sm", elem_id=elem_id)


def _place(elem_id: str) -> gr.HTML:
    """Where one part says what it is doing and what came of it."""
    return piece(elem_classes="place", elem_id=elem_id, js_on_load=CLICKS)
