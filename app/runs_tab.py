"""The Runs tab: the queue, one run in detail, live; and what can be done with it."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import gradio as gr

from app import keeping, runs_view
from app.after_tab import AfterPanel
from app.bring_panel import BringPanel
from app.chart import chart_html
from app.clock import file_size
from app.compare_panel import ComparePanel
from app.guard import HIDDEN, Updates, at_each, handler
from app.html import CLICKS, heading, notice, text
from app.memory import Memory
from app.news import fingerprint, newest_and_active
from app.pieces import piece
from app.plot import HOVER_JS
from app.services import Services
from app.wording import runs as words
from jobs.job import Job, JobNotFound, JobStatus
from lora_engine.errors import DataError


@dataclass(frozen=True)
class About:
    """What the message and the question on the tab are about."""

    run: int = 0
    status: JobStatus | None = None
    """The run's state as they came up."""
    asked: bool = False
    """Whether the question is open."""


class RunsTab:
    """Layout and handlers; the chosen run's number lives in ``memory.run``."""

    def __init__(self, services: Services, memory: Memory, status: gr.HTML, news: gr.HTML) -> None:
        self.store = services.store
        self.status = status
        """The sign of the queue, seen from every tab."""
        self.chosen = memory.run
        self.seen = gr.State("")
        """What was drawn last, so that nothing is sent while nothing changes."""
        self.about = gr.State(About())
        self.news = news
        """Clicks by itself where there is something to draw."""
        self.services = services
        self.memory = memory
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300, elem_classes="wb-panel"):
                piece(heading(words.TITLE))
                self.list = piece(js_on_load=CLICKS, elem_id="run-list")
                self.bring = BringPanel(services, memory)
            with gr.Column(scale=5, min_width=320):
                self._build_detail()
        self._connect()

    def _build_detail(self) -> None:
        with gr.Column(elem_classes="wb-panel"):
            self.header = piece(runs_view.nothing_html(), elem_id="run-header")
            self.notice = piece(elem_classes="place", elem_id="run-notice")
            with gr.Row(elem_classes="actions"):
                self.playground = _action(words.PLAYGROUND, "run-playground", "primary")
                self.download = piece(visible=False, elem_id="run-download")
                self.stop = _action(words.STOP, "run-stop")
                self.resume = _action(words.RESUME, "run-resume")
                self.again = _action(words.AGAIN, "run-again")
                self.ask_delete = _action(words.DELETE, "run-delete")
            with gr.Column(visible=False, elem_classes="confirm") as self.confirm:
                self.confirm_text = piece()
                with gr.Row(elem_classes="actions"):
                    self.delete = gr.Button(words.DELETE_YES, variant="stop", size="sm")
                    self.keep = gr.Button(words.DELETE_NO, size="sm")
        with gr.Column(visible=False, elem_classes="wb-panel") as self.result_panel:
            self.result = piece(elem_id="run-result")
        with gr.Column(visible=False, elem_classes="wb-panel") as self.chart_panel:
            piece(heading(words.CHART_TITLE, words.CHART_HINT))
            self.chart = piece(
                js_on_load=HOVER_JS, elem_id="run-chart",
                elem_classes="chart-place",
            )  # fmt: skip
        self.compare = ComparePanel(self.services, self.memory, self.news)
        self.after = AfterPanel(self.services, self.memory)
        with gr.Column(visible=False, elem_classes="wb-panel") as self.more_panel:
            with gr.Accordion(words.LOG, open=False, elem_id="run-log") as self.log_fold:
                self.log = piece(js_on_load=runs_view.FOLLOW_JS)
            with gr.Accordion(words.SETTINGS, open=False):
                self.settings = piece()

    def _connect(self) -> None:
        outputs = self.outputs()
        guard = handler(self.notice)
        quiet: dict[str, Any] = {**HIDDEN, "queue": False}
        drawn = [self.chosen, self.seen, self.about]
        # news that come while older ones are being drawn are drawn after them
        at_each(self.news.click, self.look, drawn, outputs, queue=False)
        at_each(self.chosen.change, self.turn, drawn, outputs, queue=False)
        self.list.click(guard(self.choose), None, outputs, **quiet)
        for button, change in (
            (self.stop, self.ask_stop),
            (self.resume, self.go_on),
            (self.ask_delete, self.ask),
        ):
            # as the news do, not by the queue: an older drawing must not arrive after a newer
            button.click(guard(change), [self.chosen], outputs, **quiet)
        self.delete.click(guard(self.remove), [self.chosen, self.about], outputs, **quiet)
        self.log_fold.expand(None, None, None, js=runs_view.TO_THE_END_JS)
        self.keep.click(lambda: gr.update(visible=False), None, self.confirm, **quiet)

    def outputs(self) -> list[Any]:
        """Everything the handlers may change."""
        return [
            *(self.list, self.header, self.notice, self.playground, self.download, self.stop),
            *(self.resume, self.again, self.ask_delete, self.confirm, self.confirm_text),
            *(self.result_panel, self.result, self.chart_panel, self.chart),
            *(self.status, self.after.panel, *self.after.blank(), self.more_panel, self.log),
            *(self.settings, self.seen, self.chosen, self.about),
        ]

    def look(self, chosen: int, seen: str, about: About) -> Updates:
        """``poll`` by itself; a message goes with the state of the run that it is about."""

        def draw() -> Updates:
            updates = self.poll(chosen, seen)
            # the news may come before the page knows which run was chosen: another says nothing
            old = about.run == chosen and self._about(chosen).status not in (None, about.status)
            return {**updates, **self._quiet(chosen)} if old else updates

        return self._kept_up(draw)

    def turn(self, chosen: int, seen: str, about: About) -> Updates:
        """Another run was chosen, perhaps elsewhere on the page: a question about the one before
        must not be answered under it."""
        if about.run == chosen:
            return self.look(chosen, seen, about)
        return self._kept_up(lambda: {**self.poll(chosen, seen), **self._quiet(chosen)})

    def _kept_up(self, draw: Callable[[], Updates]) -> Updates:
        """What goes wrong in ``draw`` is said until a look goes well again."""
        return {self.seen: "", **handler(self.notice, clear=False)(draw)()}

    def _quiet(self, chosen: int) -> Updates:
        """No message and no open question under this run."""
        return {
            self.notice: "",
            self.confirm: gr.update(visible=False),
            self.about: self._about(chosen),
        }

    def _about(self, chosen: int, asked: bool = False) -> About:
        try:
            return About(chosen, self.store.get(chosen).status, asked)
        except JobNotFound:
            return About(chosen)

    def poll(self, chosen: int, seen: str) -> Updates:
        """Draw what changed since the last look; nothing is sent while nothing did."""
        jobs = self._listed(chosen)
        away = runs_view.worker_is_away(jobs, time.time())
        job = next((job for job in jobs if job.id == chosen), None)
        log = self.store.log_tail(job.id) if job else ""
        now = str(hash((chosen, away, log, *map(fingerprint, jobs))))
        if now == seen:
            return {self.seen: gr.skip()}
        updates: Updates = {
            self.seen: now,
            self.status: runs_view.status_html(jobs, away),
            self.list: runs_view.list_html(jobs, chosen),
        }
        if not seen:
            updates[self.notice] = ""
        if job is None:
            return updates | self._nothing(bool(jobs))
        return updates | self._detail(job, away) | {self.log: runs_view.log_html(log)}

    def _listed(self, chosen: int) -> list[Job]:
        """The newest runs, those that have not ended, and the chosen one, however old."""
        jobs = newest_and_active(self.store)
        if chosen not in (job.id for job in jobs):
            with suppress(JobNotFound):
                jobs.append(self.store.get(chosen))
        return jobs

    def _nothing(self, some: bool) -> Updates:
        hidden = gr.update(visible=False)
        panels = [self.result_panel, self.chart_panel, self.more_panel, self.confirm]
        panels.append(self.after.panel)
        return {
            self.header: runs_view.nothing_html(some),
            **dict.fromkeys((*self._buttons(), *panels), hidden),
        }

    def _buttons(self) -> tuple[Any, ...]:
        return (
            *(self.playground, self.download, self.stop, self.resume, self.again),
            self.ask_delete,
        )

    def _detail(self, job: Job, away: bool) -> Updates:
        waiting = [each.id for each in self.store.active() if each.status is JobStatus.queued]
        place = waiting.index(job.id) + 1 if job.id in waiting else 0
        adapter = None if job.is_active else self.store.adapter_zip(job.id)
        result = runs_view.result_html(job)
        old = self.after.blank() if job.is_active else {}  # it is about the adapter before
        points = self.store.progress(job.id)
        return {
            **old,
            self.header: runs_view.header_html(
                *(job, place, away, keeping.has_checkpoint(self.services, job.id)),
                keeping.has_data(self.services, job),
            ),
            self.chart: chart_html(points),
            self.chart_panel: gr.update(visible=bool(points) or job.status is JobStatus.running),
            self.result: result,
            self.result_panel: gr.update(visible=bool(result)),
            self.settings: runs_view.settings_html(job, self._data_name(job)),
            self.more_panel: gr.update(visible=True),
            self.after.panel: gr.update(visible=adapter is not None),
            self.playground: gr.update(visible=adapter is not None),
            self.download: gr.update(
                visible=adapter is not None,
                value=download_link(job, adapter.stat().st_size) if adapter else "",
            ),
            self.stop: gr.update(visible=job.can_stop),
            self.resume: gr.update(visible=job.can_resume),
            self.again: gr.update(visible=not job.unreadable),
            self.ask_delete: gr.update(visible=job.can_delete),
        }

    def _data_name(self, job: Job) -> str:
        try:
            return self.services.library.get(job.config.dataset).name
        except DataError:
            return ""

    def choose(self, event: gr.EventData) -> Updates:
        """Show the run whose card was pressed."""
        return self._show(int(event.id))

    def _show(self, chosen: int, said: str = "") -> Updates:
        return {
            **self.poll(chosen, ""),
            **self._quiet(chosen),
            self.chosen: chosen,
            self.notice: said,
        }

    def ask_stop(self, chosen: int) -> Updates:
        """Stop a running job after its update, or take a waiting one out of the queue."""
        job = self.store.request_cancel(chosen)
        # at a running job the header says it, as long as it is true
        return self._show(chosen, "" if job.cancel_requested else notice("info", words.STOP_DONE))

    def go_on(self, chosen: int) -> Updates:
        """Put a stopped or failed job back into the queue."""
        goes_on = keeping.has_checkpoint(self.services, chosen)
        keeping.resume(self.services, chosen)
        said = words.RESUMED if goes_on else words.RESUMED_ANEW
        return self._show(chosen, notice("info", said))

    def ask(self, chosen: int) -> Updates:
        """Ask before a run is deleted; where it cannot be, say so before."""
        keeping.check_run(self.services, chosen)
        name = self.store.get(chosen).name
        question = notice("warning", words.DELETE_SURE.format(name=name))
        return {
            self.confirm: gr.update(visible=True),
            self.confirm_text: question,
            self.about: self._about(chosen, asked=True),
        }

    def remove(self, chosen: int, about: About) -> Updates:
        """Delete the run that the question is about and show the newest of the others."""
        if about.run != chosen or not about.asked:
            return self._show(chosen, notice("info", words.DELETE_ANOTHER))
        name = self.store.get(chosen).name
        keeping.delete_run(self.services, chosen)
        left = self.store.list(limit=1)
        said = notice("success", words.DELETED.format(name=name))
        return self._show(left[0].id if left else 0, said)

    def restore(self, chosen: int) -> Updates:
        """Show the run that the browser remembers; else the one at work, or the newest."""
        try:
            return self._show(self.store.get(int(chosen)).id)
        except (JobNotFound, TypeError, ValueError):
            likely = [*self.store.active(), *self.store.list(limit=1)]
            return self._show(likely[0].id if likely else 0)


def _action(label: str, elem_id: str, variant: Any = "secondary") -> gr.Button:
    return gr.Button(label, variant=variant, visible=False, size="sm", elem_id=elem_id)


def download_link(job: Job, size: int) -> str:
    """A link that saves the run's zip under a name that tells runs apart."""
    label = words.DOWNLOAD.format(size=file_size(size))
    return f'<a class="button" href="{quote(f"adapters/{job.id}.zip")}" download>{text(label)}</a>'
