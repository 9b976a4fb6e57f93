"""The settings on the Train tab: which there are, and how each is drawn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import gradio as gr

from app.html import help_text
from app.pieces import piece
from app.wording import fields as words
from app.wording.train import NONE
from lora_engine.config import (
    Bias,
    Checkpointing,
    Method,
    Metric,
    Optim,
    Precision,
    Quantization,
    Schedule,
)
from lora_engine.profile import ModelProfile
from lora_engine.registry import STARTS, SWITCHES

Section = Literal["adapter", "length", "learning", "measuring", "machine", "method", "modules"]
"""Where on the tab; all but the first are folded away under Advanced."""
Kind = Literal["number", "choice", "switch", "names", "layers", "pattern", "patterns", "open"]
"""names: words with commas between; layers: numbers and ranges; pattern: a regular expression;
patterns: ``pattern = number`` with commas between; open: choices, or anything typed."""
TEXTS = ("names", "layers", "pattern", "patterns")


@dataclass(frozen=True)
class Slide:
    """The range that a number's slider covers; typing may go beyond it.

    With ``powers`` the slider's positions are powers of two.
    """

    low: float
    high: float
    step: float
    powers: bool = False


@dataclass(frozen=True)
class Field:
    """One setting: its dotted name in ``TrainConfig`` and how it is drawn."""

    name: str
    section: Section
    kind: Kind = "number"
    slide: Slide | None = None
    choices: tuple[str, ...] = ()
    step: float = 1
    optional: bool = False
    methods: tuple[str, ...] = get_args(Method)
    """The methods that it is for; with the others it is hidden and keeps its default."""
    tasks: tuple[str, ...] = ()
    """The kinds of data (``Dataset.task``) that it is for; empty means all."""
    beside: tuple[str, ...] = ()
    """Settings of which one must do something and be on, or it does nothing; empty means that it
    needs none."""
    without: str = ""
    """A setting that takes its place where it is given."""
    of_model: Callable[[ModelProfile], bool] | None = None
    """Whether it does anything with a model; None means with all."""

    @property
    def label(self) -> str:
        return words.FIELDS[self.name][0]


TARGETS = "lora.target_modules"
PATTERN = "lora.target_pattern"
"""A regular expression in place of ``TARGETS``; both are ``target_modules`` in the settings."""
PAIRS = ("lora",)
RANKED = ("lora", "galore")
BY_ADAMW = ("lora", "freeze", "full")
OFFERED_STARTS = tuple(setting for start in STARTS.values() for setting in start.choices)
HELD_OUT = "validation_share"
BEST = ("load_best_model_at_end", "early_stopping_patience")
FIELDS = (
    Field("lora.r", "adapter", slide=Slide(0, 8, 1, powers=True), methods=RANKED),
    Field("lora.lora_alpha", "adapter", slide=Slide(1, 128, 1), methods=PAIRS),
    Field("lora.lora_dropout", "adapter", slide=Slide(0, 0.5, 0.01), step=0.01, methods=PAIRS),
    Field("epochs", "length"),
    Field("max_samples", "length", optional=True),
    Field("max_steps", "length", optional=True),
    Field("batch_size", "length"),
    Field("gradient_accumulation_steps", "length"),
    Field("max_length", "length", step=64),
    Field("learning_rate", "learning", step=0.0001),
    Field("schedule", "learning", "choice", choices=get_args(Schedule)),
    Field("warmup_ratio", "learning", step=0.01),
    Field("weight_decay", "learning", step=0.01),
    Field("max_grad_norm", "learning", step=0.1),
    Field("label_smoothing", "learning", step=0.05),
    Field("neftune_noise_alpha", "learning", optional=True),
    Field("seed", "learning"),
    Field("validation_share", "measuring", step=0.05),
    Field("sample_answers", "measuring", tasks=("chat",), beside=(HELD_OUT,)),
    Field("load_best_model_at_end", "measuring", "switch", beside=(HELD_OUT,)),
    Field("early_stopping_patience", "measuring", optional=True, beside=(HELD_OUT,)),
    Field(
        "metric_for_best_model",
        "measuring",
        "choice",
        choices=get_args(Metric),
        tasks=("classification",),
        beside=BEST,
    ),
    Field("test_dataset", "measuring", "open", optional=True),
    Field("class_weights", "measuring", "switch", tasks=("classification",)),
    Field("precision", "machine", "choice", choices=get_args(Precision)),
    Field("gradient_checkpointing", "machine", "choice", choices=get_args(Checkpointing)),
    Field("fast", "machine", "switch"),
    Field("lora.method", "method", "choice", choices=get_args(Method)),
    Field("lora.freeze_trainable_layers", "method", methods=("freeze",)),
    Field("lora.galore_update_gap", "method", methods=("galore",)),
    Field("lora.galore_scale", "method", step=0.05, methods=("galore",)),
    Field("optim", "method", "choice", choices=get_args(Optim), methods=BY_ADAMW),
    Field("start_from", "method", "open", optional=True),
    Field("quantization", "method", "choice", choices=get_args(Quantization), methods=PAIRS),
    Field(
        "lora.init_lora_weights",
        "method",
        "choice",
        choices=OFFERED_STARTS,
        methods=PAIRS,
        without="start_from",
    ),
    Field("lora.loraplus_lr_ratio", "method", optional=True, methods=PAIRS),
    *(Field(f"lora.{name}", "method", "switch", methods=PAIRS) for name in SWITCHES),
    Field("lora.use_rslora", "method", "switch", methods=PAIRS),
    Field(PATTERN, "modules", "pattern", optional=True, methods=PAIRS),
    Field("lora.layers_to_transform", "modules", "layers", optional=True, methods=PAIRS),
    Field("lora.modules_to_save", "modules", "names", optional=True, methods=PAIRS),
    Field(
        "lora.bias",
        "modules",
        "choice",
        choices=get_args(Bias),
        methods=PAIRS,
        of_model=lambda profile: profile.has_biases,
    ),
    Field("lora.rank_pattern", "modules", "patterns", optional=True, methods=PAIRS),
    Field("lora.alpha_pattern", "modules", "patterns", optional=True, methods=PAIRS),
)
"""Every setting but the target modules, whose choices depend on the model."""
DECIDING = ("lora.method", HELD_OUT, *BEST, "start_from")
"""Settings that decide which others are shown."""
BY_NAME = {field.name: field for field in FIELDS}


def applies(
    name: str, values: Mapping[str, Any], task: str = "", profile: ModelProfile | None = None
) -> bool:
    """Whether a setting does anything with the other ``values``, such data and such a model.

    ``task`` is empty where no data set is chosen, ``profile`` None where no model was looked at.
    """
    method = values.get("lora.method") or "lora"
    if name == TARGETS:
        return method in PAIRS
    field = BY_NAME.get(name)
    if field is None:
        return True
    for_task = not field.tasks or task in field.tasks
    for_model = profile is None or field.of_model is None or field.of_model(profile)
    is_on = not field.beside or any(
        values.get(other) and applies(other, values, task, profile) for other in field.beside
    )
    has_place = not values.get(field.without)
    return method in field.methods and for_task and for_model and is_on and has_place


def classes(shown: bool) -> list[str]:
    """page.css hides ``off``; Gradio would take it out, and put an empty number back as 0."""
    return ["field"] if shown else ["field", "off"]


@dataclass(frozen=True)
class Drawn:
    """A field on the page: the control that holds its value and the place of its sentence."""

    control: Any
    problem: gr.HTML
    box: gr.Column
    """What is hidden where the setting does not apply."""


def draw(field: Field, value: Any, shown: bool = True) -> Drawn:
    """Draw one field inside the current layout: control, slider, help, place for a problem."""
    common: dict[str, Any] = {"label": field.label, "elem_id": element_id(field.name)}
    with gr.Column(min_width=200, elem_classes=classes(shown)) as box:
        if field.kind == "choice":
            choices = [(words.CHOICES.get(f"{field.name}={c}", c), c) for c in field.choices]
            control: Any = gr.Dropdown(choices, value=value, **common)
        elif field.kind == "open":
            control = gr.Dropdown([(NONE, "")], value=value, allow_custom_value=True, **common)
        elif field.kind == "switch":
            control = gr.Checkbox(value=value, **common)
        elif field.kind in TEXTS:
            hint = words.PLACEHOLDERS[field.name]
            control = gr.Textbox(value=value, max_lines=1, placeholder=hint, **common)
        else:
            control = gr.Number(value=value, step=field.step, **common)
        if field.slide is not None:
            _draw_slider(field, field.slide, value, control)
        problem = draw_help(field.name)
    return Drawn(control, problem, box)


def draw_help(name: str) -> gr.HTML:
    """The sentence on what a setting does, and the place for its problem, which is given back."""
    piece(help_text(words.FIELDS[name][1]))
    return piece(elem_classes="problem", elem_id=f"{element_id(name)}-problem")


def _draw_slider(field: Field, slide: Slide, value: float, number: gr.Number) -> None:
    """A slider that moves the number, and follows it; both only in the browser."""
    to_slider, to_number = ("v", "v")
    if slide.powers:
        to_slider, to_number = ("Math.log2(Math.max(v, 1))", "Math.pow(2, v)")
        value = value.bit_length() - 1 if isinstance(value, int) else value
    slider = gr.Slider(
        slide.low,
        slide.high,
        value=value,
        step=slide.step,
        label=field.label,
        show_label=False,
        buttons=[],
        elem_classes="bare-slider",
        elem_id=f"{element_id(field.name)}-slider",
    )
    within = f"Math.min(Math.max({to_slider}, {slide.low}), {slide.high})"
    slider.input(None, slider, number, js=f"(v) => {to_number}", show_progress="hidden")
    number.change(
        None, number, slider, js=f"(v) => v === null ? {slide.low} : {within}",
        show_progress="hidden",
    )  # fmt: skip


def element_id(name: str) -> str:
    """The id of a setting's control on the page."""
    return "setting-" + name.replace(".", "-").replace("_", "-")
