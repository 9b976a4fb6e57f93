"""Every tensor of the model, before and after the adapter is put in; folded away under Train."""

from typing import Any

import gradio as gr

from app import train_form
from app.fitting import fit
from app.guard import HIDDEN, Updates, handler
from app.html import help_text
from app.pieces import piece
from app.services import Services
from app.tensors_view import tensors_html
from app.train_layout import TrainLayout
from app.wording import tensors as words
from lora_engine.table import TensorRow, filtered, tensor_table


class TensorsPanel:
    """A filterable table; while it is open it follows the form."""

    def __init__(self, services: Services, layout: TrainLayout) -> None:
        self.services = services
        self.names = list(layout.fields)
        self.open = gr.State(False)
        with gr.Accordion(
            words.TITLE, open=False, elem_classes="wb-panel", elem_id="tensors"
        ) as fold:
            piece(help_text(words.HINT))
            self.when = gr.Radio(
                list(words.WHEN), value="after", label=words.WHEN_LABEL, elem_id="tensors-when"
            )
            with gr.Row(elem_classes="bottom-aligned"):
                self.part = gr.Textbox(
                    "", label=words.FILTER, placeholder=words.FILTER_PLACEHOLDER, max_lines=1,
                    elem_id="tensors-filter",
                )  # fmt: skip
                self.only = gr.Checkbox(False, label=words.ONLY, elem_id="tensors-only")
            self.notice = piece(elem_classes="place", elem_id="tensors-notice")
            self.table = piece(elem_id="tensors-table")
        inputs = [self.open, self.when, self.part, self.only, *layout.inputs]
        outputs = [self.open, self.table, self.notice]
        draw = handler(self.notice)(self.draw)
        live: dict[str, Any] = {**HIDDEN, "queue": False, "trigger_mode": "always_last"}
        for happened, changed in ((fold.expand, True), (fold.collapse, False)):
            happened(lambda changed=changed: changed, None, self.open, **HIDDEN)
        gr.on(
            [
                *(self.open.change, self.when.change, self.part.change, self.only.change),
                layout.counts.change,
            ],
            draw,
            inputs,
            outputs,
            preprocess=False,  # as for the counts: a late request may name another model's modules
            **live,
        )

    def draw(self, opened: bool, when: str, part: str | None, only: bool, *form: Any) -> Updates:
        """The table for the form as it is; nothing while the panel is folded."""
        if not opened:
            return {}
        rows = self.rows(when, *form)
        if only:
            rows = [row for row in rows if row.trainable]
        return {self.table: tensors_html(filtered(rows, (part or "").strip()))}

    def rows(
        self, when: str, dataset: str | None, model: str | None, *controls: Any
    ) -> list[TensorRow]:
        """Every tensor ``before`` or ``after`` the form's settings change the model.

        Raises:
            ModelError: the model cannot be used; SettingsError: a setting cannot.
        """
        profile = fit(self.services, model or "", dataset or "").profile
        if when == "before":
            return tensor_table(profile)
        values = dict(zip(self.names, controls, strict=True))
        config = train_form.make_config(values, model or "-", dataset or "-")
        return tensor_table(profile, config.lora)
