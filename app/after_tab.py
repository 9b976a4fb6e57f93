"""What can be done with the chosen run's adapter, and bringing one from elsewhere."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import gradio as gr

from app import making
from app.after_view import ranks_html
from app.background import Background
from app.clock import file_size
from app.guard import HIDDEN, Updates, handler
from app.html import busy, heading, muted, notice, text
from app.memory import Memory
from app.pieces import piece
from app.services import Services
from app.uploads import discard
from app.wording import after as words
from jobs.job import Job
from lora_engine.errors import SettingsError, WorkbenchError

T = TypeVar("T")


class AfterPanel:
    """Folded away under a finished run; long work shows what it is doing."""

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
        piece(heading(words.RANKS_TITLE, words.RANKS_HINT))
        self.measure = gr.Button(words.RANKS, size="sm", elem_id="measure-ranks")
        self.ranks = piece(elem_id="ranks")
        piece(heading(words.SHRINK_TITLE, words.SHRINK_HINT))
        with gr.Row(elem_classes="bottom-aligned"):
            self.shrink_r = gr.Number(4, label=words.SHRINK_R, precision=0, elem_id="shrink-r")
            self.shrink = gr.Button(words.SHRINK, size="sm", elem_id="shrink")
        piece(heading(words.EXPORT_TITLE, words.EXPORT_HINT))
        with gr.Row(elem_classes="actions"):
            self.gguf = gr.Button(words.GGUF, size="sm", elem_id="export-gguf")
            self.merged = gr.Button(words.MERGED, size="sm", elem_id="export-merged")
        self.exported = piece(elem_id="exported")
        piece(heading(words.COMBINE_TITLE, words.COMBINE_HINT))
        with gr.Row(elem_classes="fields"):
            self.other = gr.Dropdown([], label=words.COMBINE_OTHER, elem_id="combine-other")
            self.weight = gr.Number(0.5, label=words.COMBINE_WEIGHT, step=0.1)
            self.weight_other = gr.Number(0.5, label=words.COMBINE_WEIGHT_OTHER, step=0.1)
            self.method = gr.Dropdown(
                list(words.COMBINE_METHODS), value="svd", label=words.COMBINE_METHOD
            )
        self.combine = gr.Button(words.COMBINE, size="sm", elem_id="combine")
        self.notice = piece(elem_classes="place", elem_id="after-notice")

    def _connect(self) -> None:
        outputs = self.outputs()
        guard = handler(self.notice)
        self.run.change(guard(self.show), [self.run], outputs, **HIDDEN)
        self.fold.expand(guard(self.show), [self.run], outputs, **HIDDEN)
        self.measure.click(guard(self.measure_ranks), [self.run], outputs, **HIDDEN)
        self.shrink.click(guard(self.make_smaller), [self.run, self.shrink_r], outputs, **HIDDEN)
        self.gguf.click(guard(self.export_gguf), [self.run], outputs, **HIDDEN)
        self.merged.click(guard(self.export_merged), [self.run], outputs, **HIDDEN)
        self.combine.click(
            guard(self.add_up),
            [self.run, self.other, self.weight, self.weight_other, self.method],
            outputs,
            **HIDDEN,
        )

    def outputs(self) -> list[Any]:
        """Everything the handlers may change."""
        return [self.panel, self.ranks, self.exported, self.other, self.notice, self.run]

    def show(self, run: int) -> Updates:
        """Another run was chosen, or the panel was opened."""
        job = self._job(run)
        if job is None:
            return {self.panel: gr.update(visible=False)}
        choices = [(f"{each.name} (#{each.id})", each.id) for each in
                   making.others(self.services, job)]  # fmt: skip
        return {
            self.panel: gr.update(visible=True),
            self.ranks: "",
            self.exported: "",
            self.other: gr.update(choices=choices, value=choices[0][1] if choices else None),
        }

    def _job(self, run: int) -> Job | None:
        """The chosen run, where it has a LoRA adapter."""
        try:
            job = self.services.store.get(int(run))
        except (WorkbenchError, TypeError, ValueError):
            return None
        fits = job.config.lora.method == "lora" and not job.is_active
        return job if fits and self.services.store.adapter_zip(job.id) else None

    def _needed(self, run: int) -> Job:
        return self.services.store.get(int(run))

    def _work(self, work: Callable[[making.Tell], T]) -> Iterator[Updates | T]:
        """Do long work, telling what it is doing; the result comes last."""
        yield {self.notice: busy(words.WORKING, 0)}
        doing = Background(lambda tell: work(lambda sentence: tell(0, sentence)))
        for share, sentence, _ in doing.steps():
            yield {self.notice: busy(sentence or words.WORKING, share)}
        yield doing.result()

    def measure_ranks(self, run: int) -> Iterator[Updates]:
        """Draw what each module learned."""
        job = self._needed(run)
        for step in self._work(lambda tell: (making.rank_report(self.services, job, tell),)):
            if isinstance(step, tuple):
                yield {self.ranks: ranks_html(step[0]), self.notice: ""}
            else:
                yield step

    def make_smaller(self, run: int, r: float | None) -> Iterator[Updates]:
        """Cut to a smaller rank; the result is a new line in the list."""
        job = self._needed(run)
        if r is None:
            raise SettingsError("r", "Type the new rank first.")
        for step in self._work(lambda tell: making.shrink(self.services, job, int(r), tell)):
            yield self._made(step) if isinstance(step, tuple) else step

    def add_up(
        self, run: int, other: int | None, weight: float, weight_other: float, method: str
    ) -> Iterator[Updates]:
        """Combine with another run; the result is a new line in the list."""
        if other is None:
            raise SettingsError("job_ids", words.COMBINE_NONE)
        jobs = [self._needed(run), self._needed(other)]
        weights, form = [weight or 0.0, weight_other or 0.0], {"method": method}
        for step in self._work(
            lambda tell: making.combine(self.services, jobs, weights, form, tell)
        ):
            yield self._made(step) if isinstance(step, tuple) else step

    def _made(self, step: tuple[Job, dict[str, Any]]) -> Updates:
        job, found = step
        said = words.MADE.format(sentence=found["sentence"], job=job.id)
        return {self.run: job.id, self.notice: notice("success", said)}

    def export_gguf(self, run: int) -> Iterator[Updates]:
        """A zip for llama.cpp and Ollama."""
        yield from self._export(run, "gguf")

    def export_merged(self, run: int) -> Iterator[Updates]:
        """A folder with the whole model."""
        yield from self._export(run, "merged")

    def _export(self, run: int, form: str) -> Iterator[Updates]:
        job = self._needed(run)
        for step in self._work(lambda tell: making.export(self.services, job, form, tell)):
            if not isinstance(step, tuple):
                yield step
                continue
            path, found = step
            if form == "gguf":
                label = words.GGUF_LINK.format(size=file_size(path.stat().st_size))
                address = quote(f"adapters/{job.id}.gguf.zip")
                where = f'<a class="button" href="{address}" download>{text(label)}</a>'
            else:
                where = muted(words.MERGED_WHERE.format(path=path))
            yield {self.exported: f"<p>{text(found['sentence'])}</p>{where}", self.notice: ""}


class BringPanel:
    """Bring an adapter that was made elsewhere."""

    def __init__(self, services: Services, memory: Memory) -> None:
        self.services = services
        self.run = memory.run
        with gr.Accordion(words.BRING_TITLE, open=False, elem_id="bring-adapter"):
            piece(f'<p class="help">{text(words.BRING_HINT)}</p>')
            self.file = gr.UploadButton(words.BRING_FILE, size="sm", file_types=[".zip"])
            self.path = gr.Textbox("", label=words.BRING_PATH, max_lines=1, elem_id="bring-path")
            self.base = gr.Textbox("", label=words.BRING_BASE, max_lines=1, elem_id="bring-base")
            self.add = gr.Button(words.BRING, size="sm", elem_id="bring")
            self.notice = piece(elem_classes="place", elem_id="bring-notice")
        outputs = [self.run, self.notice, self.path]
        guard = handler(self.notice)
        self.file.upload(guard(self.bring), [self.file, self.base], outputs, **HIDDEN)
        self.add.click(guard(self.bring), [self.path, self.base], outputs, **HIDDEN)

    def bring(self, path: str | None, base: str | None) -> Iterator[Updates]:
        """Check it and put it into the list."""
        if not (path or "").strip():
            raise SettingsError("path", words.BRING_NOTHING)
        file = Path(str(path).strip()).expanduser()
        yield {self.notice: busy(words.WORKING, 0)}
        doing = Background(
            lambda tell: making.bring_in(self.services, file, base or "", lambda s: tell(0, s))
        )
        for share, sentence, _ in doing.steps():
            yield {self.notice: busy(sentence or words.WORKING, share)}
        job = doing.result()
        discard(str(file))
        said = notice("success", words.BROUGHT.format(name=job.name))
        yield {self.run: job.id, self.notice: said, self.path: ""}
