"""The settings on the Train tab: which there are, and how each is drawn."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import gradio as gr

from app.html import help_text
from app.pieces import piece
from app.wording import train as words
from lora_engine.config import Bias, LoraConfig, Precision, Schedule, TrainConfig

Section = Literal["adapter", "advanced"]


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
    slide: Slide | None = None
    choices: tuple[str, ...] = ()
    step: float = 1
    optional: bool = False
    is_switch: bool = False

    @property
    def label(self) -> str:
        return words.FIELDS[self.name][0]


TARGETS = "lora.target_modules"
FIELDS = (
    Field("lora.r", "adapter", Slide(0, 8, 1, powers=True)),
    Field("lora.lora_alpha", "adapter", Slide(1, 128, 1)),
    Field("lora.lora_dropout", "adapter", Slide(0, 0.5, 0.01), step=0.01),
    Field("epochs", "advanced"),
    Field("learning_rate", "advanced", step=0.0001),
    Field("batch_size", "advanced"),
    Field("gradient_accumulation_steps", "advanced"),
    Field("max_length", "advanced", step=64),
    Field("max_steps", "advanced", optional=True),
    Field("validation_share", "advanced", step=0.05),
    Field("schedule", "advanced", choices=get_args(Schedule)),
    Field("warmup_ratio", "advanced", step=0.01),
    Field("weight_decay", "advanced", step=0.01),
    Field("max_grad_norm", "advanced", step=0.1),
    Field("lora.bias", "advanced", choices=get_args(Bias)),
    Field("precision", "advanced", choices=get_args(Precision)),
    Field("fast", "advanced", is_switch=True),
    Field("seed", "advanced"),
)
"""Every setting but the target modules, whose choices depend on the model."""


@dataclass(frozen=True)
class Drawn:
    """A field on the page: the control that holds its value and the place of its sentence."""

    control: Any
    problem: gr.HTML


def draw(field: Field, value: Any) -> Drawn:
    """Draw one field inside the current layout: control, slider, help, place for a problem."""
    with gr.Column(min_width=200, elem_classes="field"):
        if field.choices:
            control: Any = gr.Dropdown(
                list(field.choices),
                value=value,
                label=field.label,
                elem_id=element_id(field.name),
            )
        elif field.is_switch:
            control = gr.Checkbox(value=value, label=field.label, elem_id=element_id(field.name))
        else:
            control = gr.Number(
                value=value, label=field.label, step=field.step, elem_id=element_id(field.name)
            )
        if field.slide is not None:
            _draw_slider(field, field.slide, value, control)
        problem = draw_help(field.name)
    return Drawn(control, problem)


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


def default_values() -> dict[str, Any]:
    """Every field's default, by dotted name."""
    lora = LoraConfig().to_json()
    config = TrainConfig(base_model="-", dataset="-").to_json()
    return {
        field.name: lora[field.name.removeprefix("lora.")]
        if field.name.startswith("lora.")
        else config[field.name]
        for field in FIELDS
    }
