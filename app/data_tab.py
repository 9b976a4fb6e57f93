"""The Data tab: upload, choose, say which column is what, and see what will be learned."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from app import data_view, keeping
from app.background import Background
from app.first_rows import first_samples, rows_for_labels
from app.guard import HIDDEN, Updates, at_each, handler
from app.html import CLICKS, busy, heading, notice
from app.memory import Memory
from app.pieces import piece
from app.services import Services
from app.uploads import discard
from app.wording import data as words
from lora_engine.data.nouns import Dataset
from lora_engine.errors import RowsLostError

PREVIEW_ROWS = 5
PEEK_SECONDS = 1.0
"""A file that takes longer than this shows its first rows before it is read whole."""


class DataTab:
    """Layout and handlers; the chosen data set's id lives in ``memory.dataset``."""

    def __init__(self, services: Services, memory: Memory) -> None:
        self.services = services
        self.library = services.library
        self.chosen = memory.dataset
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300, elem_classes="wb-panel"):
                self._build_sources()
            with gr.Column(scale=5, min_width=320):
                self._build_view()
        self._connect()

    def _build_sources(self) -> None:
        piece(heading(words.TITLE, words.HINT))
        self.file = gr.File(
            label=words.UPLOAD,
            show_label=False,
            file_count="single",
            height=170,
            elem_id="upload-data",
        )
        self.sample = gr.Button(words.SAMPLE, elem_id="use-sample")
        self.notice = piece(elem_classes="place", elem_id="data-notice")
        piece(heading(words.KEPT))
        self.kept = piece(js_on_load=CLICKS, elem_id="kept-data")

    def _build_view(self) -> None:
        with gr.Column(elem_classes="wb-panel"):
            self.summary = piece(data_view.nothing_html(), elem_id="data-summary")
            with gr.Row(visible=False, elem_classes="actions") as self.actions:
                self.to_train = gr.Button(words.TO_TRAIN, variant="primary", elem_id="to-train")
                self.ask_delete = gr.Button(words.DELETE, elem_id="delete-data", size="sm")
            with gr.Column(visible=False, elem_classes="confirm") as self.confirm:
                self.confirm_text = piece()
                with gr.Row(elem_classes="actions"):
                    self.delete = gr.Button(words.DELETE_YES, variant="stop", size="sm")
                    self.keep = gr.Button(words.DELETE_NO, size="sm")
        with gr.Column(visible=False, elem_classes="wb-panel") as self.columns_panel:
            piece(heading(words.ROLES_TITLE, words.ROLES_HINT))
            self.shape = gr.Radio(
                [(label, key) for key, label in words.SHAPES.items()],
                label=words.SHAPE,
                value="pair",
                elem_id="row-shape",
            )
            with gr.Row():
                self.columns = {role: self._column_choice(role) for role in data_view.ROLES}
            self.columns_notice = piece(elem_classes="place", elem_id="roles-notice")
        with gr.Column(visible=False, elem_classes="wb-panel") as self.preview_panel:
            self.preview = piece(elem_id="preview")
        with gr.Column(visible=False, elem_classes="wb-panel") as self.problems_panel:
            self.problems = piece(elem_id="problems")

    @staticmethod
    def _column_choice(role: str) -> gr.Dropdown:
        return gr.Dropdown(
            label=words.ROLE_LABELS[role], visible=False, min_width=180, elem_id=f"role-{role}"
        )

    def _connect(self) -> None:
        everything = self.outputs()
        guard = handler(self.notice)
        added = self.file.upload(guard(self.add), [self.file, self.chosen], everything, **HIDDEN)
        added.then(lambda: None, None, self.file, **HIDDEN)
        self.sample.click(guard(self.add_sample), None, everything, **HIDDEN)
        self.kept.click(guard(self.choose), None, everything, **HIDDEN)
        self.ask_delete.click(guard(self.ask), [self.chosen], everything, **HIDDEN)
        self.keep.click(lambda: gr.update(visible=False), None, self.confirm, queue=False, **HIDDEN)
        self.delete.click(guard(self.remove), [self.chosen], everything, **HIDDEN)
        roles = handler(self.columns_notice)
        columns = list(self.columns.values())
        # a choice made while an earlier one is being checked counts, and comes after it
        latest = {**HIDDEN, "trigger_mode": "always_last", "concurrency_id": "roles"}
        form = [self.chosen, self.shape, *columns]
        checks: list[Any] = [
            self.shape.input(roles(self.change_shape), form, everything, **latest),
            *(c.input(roles(self.change_roles), form, everything, **latest) for c in columns),
        ]
        # what is found in one data set must not be drawn under another; the check itself goes on
        self.chosen.change(None, cancels=checks, **HIDDEN)
        at_each(self.chosen.change, lambda: "", None, self.columns_notice, queue=False)

    def outputs(self) -> list[Any]:
        """Everything the handlers may change."""
        return [
            *(self.notice, self.kept, self.summary, self.actions, self.confirm, self.confirm_text),
            self.to_train,
            *(self.columns_panel, self.shape, *self.columns.values(), self.columns_notice),
            *(self.preview_panel, self.preview, self.problems_panel, self.problems, self.chosen),
        ]

    def add(self, path: str | None, chosen: str) -> Iterator[Updates]:
        """Keep an uploaded file as a data set and show it; of a long one the first rows at once."""
        if path is None:
            return
        adding = Background(lambda tell: self.library.add(path, on_progress=tell))
        peeked = False
        for share, sentence, waited in adding.steps():
            updates = {self.notice: busy(sentence or words.READING, share)}
            if waited > PEEK_SECONDS and not peeked:
                peeked = True
                updates |= self._peek(path)
            yield updates
        try:
            added = adding.result()
        except Exception:
            if peeked:
                yield self.restore(chosen)
            raise
        discard(path)
        yield {self.notice: "", **self.show(added.dataset_id)}

    def _peek(self, path: str) -> Updates:
        hidden = gr.update(visible=False)
        return {
            self.summary: data_view.reading_html(Path(path).name),
            self.preview: data_view.first_rows_html(self.library.peek(path, PREVIEW_ROWS)),
            self.preview_panel: gr.update(visible=True),
            self.actions: hidden,
            self.columns_panel: hidden,
            self.problems_panel: hidden,
        }

    def add_sample(self) -> Updates:
        """Keep the sample data set that ships with the project and show it."""
        return self.show(self.library.add_sample_set().dataset_id)

    def choose(self, event: gr.EventData) -> Updates:
        """Show the data set whose card was pressed."""
        return self.show(str(event.id))

    def ask(self, dataset_id: str) -> Updates:
        """Ask before a data set is deleted; where it cannot be, say so before."""
        keeping.check_dataset(self.services, dataset_id)
        name = self.library.get(dataset_id).name
        question = notice("warning", words.DELETE_SURE.format(name=name))
        return {self.confirm: gr.update(visible=True), self.confirm_text: question}

    def remove(self, dataset_id: str) -> Updates:
        """Delete the chosen data set and show the newest of the others."""
        name = self.library.get(dataset_id).name
        keeping.delete_dataset(self.services, dataset_id)
        left = self.library.list()
        if not left:
            said = notice("success", words.DELETED.format(name=name))
            return {**self.show(""), self.notice: said}
        said = notice("info", words.DELETED_NEXT.format(name=name, next=left[0].name))
        return {**self.show(left[0].dataset_id), self.notice: said}

    def change_shape(self, dataset_id: str, shape: str, *columns: str | None) -> Iterator[Updates]:
        """Offer the columns of another shape; they count once they are complete."""
        roles = data_view.roles_for(shape, dict(zip(self.columns, columns, strict=True)))
        dataset = self.library.get(dataset_id)
        columns_shown = self._column_updates(dataset, shape, roles)
        if all(role in roles for role in data_view.NEEDED[shape]):
            yield columns_shown
            yield from self._with_roles(dataset_id, roles)
        else:
            seen = data_view.unfinished_view(dataset, roles)
            yield columns_shown | self._nothing_said() | self._seen(seen, ready=False)

    def change_roles(self, dataset_id: str, shape: str, *columns: str | None) -> Iterator[Updates]:
        """Use other columns for the chosen shape."""
        roles = data_view.roles_for(shape, dict(zip(self.columns, columns, strict=True)))
        yield from self._with_roles(dataset_id, roles)

    def _with_roles(self, dataset_id: str, roles: dict[str, str]) -> Iterator[Updates]:
        checking = Background(lambda tell: self.library.set_roles(dataset_id, roles, tell))
        for share, sentence, _ in checking.steps():
            yield {self.columns_notice: busy(sentence or words.CHECKING, share)}
        yield {**self._nothing_said(), **self._contents(checking.result())}

    def restore(self, dataset_id: str) -> Updates:
        """Show what the browser remembers, or the newest data set where that one is gone."""
        known = [dataset.dataset_id for dataset in self.library.list()]
        newest = known[0] if known else ""
        return self.show(dataset_id if dataset_id in known else newest)

    def show(self, dataset_id: str) -> Updates:
        """The whole tab for one data set; with an empty id, the empty state."""
        kept = self.library.list()
        hidden = gr.update(visible=False)
        updates: Updates = {
            self.kept: data_view.kept_html(kept, dataset_id),
            self.chosen: dataset_id,
            self.confirm: hidden,
            **self._nothing_said(),
        }
        if not dataset_id:
            panels = (self.actions, self.columns_panel, self.preview_panel, self.problems_panel)
            return {**updates, self.summary: data_view.nothing_html()} | dict.fromkeys(
                panels, hidden
            )
        dataset = self.library.get(dataset_id)
        shape = data_view.shape_of(dataset.roles)
        return (
            updates
            | self._contents(dataset)
            | self._column_updates(dataset, shape, dataset.roles)
            | {self.shape: shape}
        )

    def _nothing_said(self) -> Updates:
        """What was said before is about another data set, or about other columns."""
        return {self.notice: "", self.columns_notice: ""}

    def _contents(self, dataset: Dataset) -> Updates:
        try:
            samples = first_samples(self.library, dataset, PREVIEW_ROWS)
            rows = rows_for_labels(self.library, dataset)
        except RowsLostError as error:  # it can still be deleted
            seen = replace(data_view.view(dataset, ()), preview=notice("error", str(error)))
            return self._seen(seen, dataset.problem_count > 0, ready=False)
        return self._seen(data_view.view(dataset, samples, rows), dataset.problem_count > 0)

    def _seen(
        self, seen: data_view.DatasetView, problems: bool = False, ready: bool = True
    ) -> Updates:
        shown = gr.update(visible=True)
        return {
            self.summary: seen.summary,
            self.preview: seen.preview,
            self.problems: seen.problems,
            self.actions: shown,
            self.to_train: gr.update(interactive=ready),
            self.columns_panel: shown,
            self.preview_panel: shown,
            self.problems_panel: gr.update(visible=problems),
        }

    def _column_updates(self, dataset: Dataset, shape: str, roles: dict[str, str]) -> Updates:
        """The dropdowns that apply to ``shape``, with this data set's columns."""
        names = [(name, name) for name in dataset.columns]
        return {
            choice: gr.update(
                choices=names if role in data_view.NEEDED[shape] else [("—", ""), *names],
                value=roles.get(role, None if role in data_view.NEEDED[shape] else ""),
                visible=role in data_view.SHAPE_ROLES[shape],
            )
            for role, choice in self.columns.items()
        }
