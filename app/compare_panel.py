"""Some runs beside the chosen one: what their settings differ in, and what came of each."""

from typing import Any

import gradio as gr

from app.compared_view import compared_html
from app.guard import HIDDEN, Updates, at_each, handler
from app.html import help_text, muted
from app.memory import Memory
from app.news import fingerprint
from app.pieces import piece
from app.plot import HOVER_JS
from app.run_comparison import MOST_RUNS, compare_runs
from app.services import Services
from app.wording import compared as words
from jobs.job import Job
from lora_engine.errors import WorkbenchError


class ComparePanel:
    """Folded away under a run's chart."""

    def __init__(self, services: Services, memory: Memory, news: gr.HTML) -> None:
        self.services = services
        self.run = memory.run
        self.seen = gr.State("")
        """What was drawn last, so that nothing is sent while nothing changes."""
        self.panel = gr.Column(visible=False, elem_classes="wb-panel")
        self.fold = gr.Accordion(words.TITLE, open=False, elem_id="compare-runs", render=False)
        with self.panel:
            self.fold.render()  # type: ignore[no-untyped-call]
            with self.fold:
                piece(help_text(words.HINT))
                self.none = piece(muted(words.NONE_YET), elem_id="compare-none")
                self.others = gr.Dropdown(
                    [], value=[], label=words.OTHERS.format(most=MOST_RUNS - 1), multiselect=True,
                    max_choices=MOST_RUNS - 1, elem_id="compare-others",
                )  # fmt: skip
                self.notice = piece(elem_classes="place", elem_id="compare-notice")
                self.compared = piece(
                    js_on_load=HOVER_JS, elem_id="compared", elem_classes="chart-place place"
                )
        guard, quiet = handler(self.notice), {**HIDDEN, "queue": False}
        outputs, now = self.outputs(), [self.run, self.others, self.seen]
        at_each(self.run.change, guard(self.show), [self.run], outputs, queue=False)
        self.fold.expand(guard(self.offer), [self.run, self.others], outputs,
                         preprocess=False, **quiet)  # fmt: skip
        self.others.input(guard(self.draw), [self.run, self.others], outputs,
                           preprocess=False, **quiet)  # fmt: skip
        at_each(
            news.click, handler(self.notice, clear=False)(self.look), now, outputs,
            preprocess=False, queue=False,
        )  # fmt: skip

    def outputs(self) -> list[Any]:
        """Everything the handlers may change."""
        return [self.panel, self.none, self.others, self.notice, self.compared, self.seen]

    def show(self, run: int) -> Updates:
        """Another run was chosen: it is compared with nothing yet."""
        offered = self.offer(run)
        return {
            **offered,
            self.others: offered[self.others] | {"value": []},
            self.compared: "",
            self.seen: "",
        }

    def offer(self, run: int, chosen: list[int] | None = None) -> Updates:
        """The runs that can stand beside this one, as they are now.

        The choice itself is touched only where a run of it is gone: another may be made meanwhile.
        """
        others = self._others(run)
        there = {job.id for job in others}
        left = [each for each in chosen or [] if each in there]
        choices = [(f"{job.name} (#{job.id}, {job.config.base_model})", job.id) for job in others]
        return {
            self.panel: gr.update(visible=bool(run)),
            self.none: gr.update(visible=not choices),
            self.others: gr.update(choices=choices, visible=bool(choices))
            | ({"value": left} if left != (chosen or []) else {}),
        }

    def draw(self, run: int, others: list[int] | None) -> Updates:
        """The comparison with the chosen ones."""
        if not others:
            return {self.compared: "", self.seen: ""}
        jobs = [self.services.store.get(int(each)) for each in (run, *others)]
        progress = [self.services.store.progress(job.id) for job in jobs]
        shown = compared_html(compare_runs(jobs), progress, self._data_names())
        return {self.compared: shown, self.seen: _mark(jobs)}

    def look(self, run: int, others: list[int] | None, seen: str) -> Updates:
        """Draw again what is compared, where one of the runs went on; let go of a deleted one."""
        if not others or self._job(run) is None:
            return {self.seen: gr.skip()}
        jobs = [job for each in (run, *others) if (job := self._job(each)) is not None]
        if len(jobs) < len(others) + 1:
            left = [job.id for job in jobs if job.id != run]
            return {**self.offer(run, others), **self.draw(run, left)}
        return {self.seen: gr.skip()} if _mark(jobs) == seen else self.draw(run, others)

    def _others(self, run: int) -> list[Job]:
        """The runs of which something is known already, the newest first."""
        jobs = self.services.store.list(limit=0)
        return [job for job in jobs if job.id != run and (job.step or job.metrics)]

    def _job(self, run: int) -> Job | None:
        try:
            return self.services.store.get(int(run))
        except (WorkbenchError, TypeError, ValueError):
            return None

    def _data_names(self) -> dict[str, str]:
        return {dataset.dataset_id: dataset.name for dataset in self.services.library.list()}


def _mark(jobs: list[Job]) -> str:
    return str(hash(tuple(map(fingerprint, jobs))))
