"""How the Train tab is laid out; what happens on it is in train_tab."""

from typing import Any, get_args

import gradio as gr

from app.counts_view import module_choices
from app.fields import FIELDS, TARGETS, Drawn, Section, applies, draw, draw_help, element_id
from app.html import CLICKS, heading, help_text, muted
from app.pieces import piece
from app.presets import DEFAULT_PRESET
from app.presets_view import presets_html
from app.train_form import default_values
from app.wording import fields as field_words
from app.wording import train as words
from lora_engine.starters import STARTERS, shipped_profile


class TrainLayout:
    """The tab's components. ``fields`` maps dotted setting names to what was drawn for them."""

    def __init__(self) -> None:
        self.start_values = default_values() | DEFAULT_PRESET.values
        self.first_model = next(iter(STARTERS))
        self.first_profile = shipped_profile(self.first_model)
        self.fields: dict[str, Drawn] = {}
        with gr.Row(equal_height=False):
            with gr.Column(scale=7, min_width=320) as self.main:
                self._build_what()
                self._build_adapter()
                self._build_advanced()
            with gr.Column(scale=4, min_width=300, elem_classes="side"):
                self._build_counts()
        self.controls: list[Any] = [drawn.control for drawn in self.fields.values()]
        self.inputs: list[Any] = [self.dataset, self.model, *self.controls]

    def _build_what(self) -> None:
        with gr.Column(elem_classes="wb-panel"):
            piece(heading(words.WHAT_TITLE))
            with gr.Row(elem_classes="fields"):
                with gr.Column(min_width=200, elem_classes="field"):
                    self.dataset = gr.Dropdown([], label=words.DATASET, elem_id="train-dataset")
                    piece(help_text(words.DATASET_HELP))
                    self.dataset_problem = piece(
                        elem_classes="problem", elem_id="train-dataset-problem"
                    )
                with gr.Column(min_width=200, elem_classes="field"):
                    self.model = gr.Dropdown(
                        [
                            (words.MODEL_FOR[starter.task].format(title=starter.title), starter.id)
                            for starter in STARTERS.values()
                        ],
                        value=self.first_model,
                        label=words.MODEL,
                        allow_custom_value=True,
                        elem_id="train-model",
                    )
                    piece(help_text(words.MODEL_HELP))
            self.model_problem = piece(elem_classes="problem", elem_id="train-model-problem")
            self.model_notice = piece(elem_classes="place", elem_id="model-notice")

    def _build_adapter(self) -> None:
        with gr.Column(elem_classes="wb-panel"):
            piece(heading(words.PRESETS_TITLE, words.PRESETS_HINT))
            self.presets = piece(
                presets_html(DEFAULT_PRESET.key), js_on_load=CLICKS, elem_id="presets"
            )
        with gr.Column(elem_classes="wb-panel section", elem_id="section-adapter"):
            piece(heading(words.ADAPTER_TITLE, words.ADAPTER_HINT))
            with gr.Row(elem_classes="fields"):
                self._draw_section("adapter")
            with gr.Column(elem_classes="field") as box:
                modules = gr.CheckboxGroup(
                    module_choices(self.first_profile),
                    value=list(self.first_profile.default_targets),
                    label=field_words.FIELDS[TARGETS][0],
                    elem_id=element_id(TARGETS),
                )
                with gr.Row(elem_classes="actions"):
                    self.usual = gr.Button(words.TARGETS_USUAL, size="sm")
                    self.all_modules = gr.Button(words.TARGETS_ALL, size="sm")
                problem = draw_help(TARGETS)
            self.fields[TARGETS] = Drawn(modules, problem, box)

    def _build_advanced(self) -> None:
        with gr.Accordion(
            words.ADVANCED, open=False, elem_classes="wb-panel", elem_id="advanced"
        ) as self.advanced:
            for section in get_args(Section)[1:]:
                title, hint = field_words.SECTIONS[section]
                with gr.Column(elem_classes="section", elem_id=f"section-{section}"):
                    piece(heading(title, hint))
                    with gr.Row(elem_classes="fields"):
                        self._draw_section(section)

    def _draw_section(self, section: Section) -> None:
        for field in FIELDS:
            if field.section == section:
                shown = applies(field.name, self.start_values, "", self.first_profile)
                self.fields[field.name] = draw(field, self.start_values[field.name], shown)

    def _build_counts(self) -> None:
        with gr.Column(elem_classes="wb-panel sticky"):
            piece(heading(words.COUNTS_TITLE))
            self.counts = piece(muted(words.COUNTS_WAIT), elem_id="counts")
            self.estimate = piece(elem_id="estimate")
            self.name = gr.Textbox(
                label=words.NAME, placeholder=words.NAME_PLACEHOLDER,
                max_lines=1, elem_id="run-name",
            )  # fmt: skip
            self.start = gr.Button(words.START, variant="primary", size="lg", elem_id="start-run")
            self.notice = piece(elem_classes="place", elem_id="train-notice")
            self.trouble = piece(elem_classes="place", elem_id="train-trouble")
            """Why a press on a button did nothing, or why nothing can be counted; gone at the next
            change of the form."""
            with gr.Row(elem_classes="actions"):
                self.save = gr.Button(words.SAVE, size="sm", elem_id="save-settings")
                self.load = gr.UploadButton(
                    words.LOAD, size="sm", file_types=[".json"], elem_id="load-settings"
                )
            self.saved = gr.Textbox(visible=False)
            self.restored = gr.Checkbox(False, visible=False)
            """Set once the form is as the browser remembers it; before that it is no one's."""
            self.drawn = gr.State(0)
            """Another number each time that the whole form was drawn: counts that were asked for
            before may come after it, and are of another model."""
