"""Which finished runs answer on the Playground: one, and others on its base to compare with."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from app import making
from app.comparing import MOST_ADAPTERS, sorts
from app.guard import Updates
from app.html import help_text
from app.pieces import piece
from app.runs_tab import download_link
from app.services import Services
from app.wording import playground as words
from jobs.job import Job
from lora_engine.errors import AdapterError


class RunChoice:
    """The run, its zip, and up to three more runs on the same base model."""

    def __init__(self, services: Services) -> None:
        self.services = services
        with gr.Row(elem_classes="bottom-aligned"):
            self.run = gr.Dropdown(
                [], label=words.RUN, scale=3, min_width=260, elem_id="playground-run"
            )
            self.download = piece(min_width=200, elem_id="playground-download")
        with gr.Column(visible=False, elem_classes="field") as self.others_box:
            self.others = gr.Dropdown(
                [], value=[], multiselect=True, max_choices=MOST_ADAPTERS - 1,
                label=words.OTHERS.format(most=MOST_ADAPTERS - 1), elem_id="playground-others",
            )  # fmt: skip
            piece(help_text(words.OTHERS_HELP))
        self.inputs: list[Any] = [self.run, self.others]

    def outputs(self) -> list[Any]:
        """Everything that the methods may change."""
        return [self.run, self.others_box, self.others, self.download]

    def finished(self) -> list[Job]:
        """The runs that have an adapter, newest first."""
        store = self.services.store
        return [
            job for job in store.list(limit=0) if not job.is_active and store.adapter_zip(job.id)
        ]

    def offer(self, jobs: Sequence[Job], chosen: int) -> Updates:
        """The finished runs as choices."""
        choices = [(f"{job.name} (#{job.id}, {job.config.base_model})", job.id) for job in jobs]
        return {self.run: gr.update(choices=choices, value=chosen)}

    def offer_others(self, job: Job, chosen: Sequence[int] = ()) -> Updates:
        """The runs that can stand beside this one: of the same kind, and trained on the same base
        model in the same bits, which then answers for all of them."""
        choices = [
            (f"{each.name} (#{each.id})", each.id)
            for each in making.others(self.services, job)
            if sorts(each) == sorts(job) and each.config.quantization == job.config.quantization
        ]
        return {
            self.others_box: gr.update(visible=bool(choices)),
            self.others: gr.update(choices=choices, value=list(chosen)),
        }

    def link(self, job: Job) -> Updates:
        """The chosen run's zip."""
        adapter = self.services.store.adapter_zip(job.id)
        return {self.download: download_link(job, adapter.stat().st_size) if adapter else ""}

    def jobs(self, run: int | None, others: Sequence[int] | None) -> list[Job]:
        """The chosen run, then those to compare it with.

        Raises:
            AdapterError: no run is chosen, or too many are.
        """
        if run is None:
            raise AdapterError(words.CHOOSE_RUN)
        if len(others or ()) >= MOST_ADAPTERS:
            raise AdapterError(words.TOO_MANY.format(most=MOST_ADAPTERS - 1))
        return [self.services.store.get(int(each)) for each in (run, *(others or ()))]

    def held(self, busy: bool) -> Updates:
        """The columns stay as they are while answers are written."""
        free = gr.update(interactive=not busy)
        return {self.run: free, self.others: free}
