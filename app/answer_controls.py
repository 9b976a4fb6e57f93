"""How answers are written: the folded controls of the Playground."""

from typing import Any

import gradio as gr

from app.comparing import AnswerOptions
from app.guard import Updates
from app.html import help_text
from app.pieces import piece
from app.wording import playground as words

NAMES = ("temperature", "max_new_tokens", "strength", "seed")


class AnswerControls:
    """System text, strength and decoding; the same for every side."""

    def __init__(self) -> None:
        with gr.Accordion(words.OPTIONS, open=False, elem_id="answer-options"):
            with gr.Column(elem_classes="field") as self.system_box:
                self.system = gr.Textbox("", label=words.SYSTEM, lines=2, elem_id="system-text")
                piece(help_text(words.SYSTEM_HELP))
            with gr.Row(elem_classes="fields"):
                self.strength = _slide((0, 1.5, 0.05), 1, words.STRENGTH, "strength")
            with gr.Row(elem_classes="fields") as self.decoding_box:
                self.temperature = _slide((0, 1.5, 0.05), 0, words.TEMPERATURE, "temperature")
                self.max_new_tokens = _slide((8, 1024, 8), 128, words.LONGEST, "max-new-tokens")
                with gr.Column(min_width=200, elem_classes="field"):
                    self.seed = gr.Number(0, label=words.SEED[0], elem_id="answer-seed")
                    piece(help_text(words.SEED[1]))
        self.inputs: list[Any] = [self.temperature, self.max_new_tokens, self.strength, self.seed]

    def shown(self, writes: bool) -> Updates:
        """What applies: a model that only gives labels is not told how to write."""
        return {
            self.system_box: gr.update(visible=writes),
            self.decoding_box: gr.update(visible=writes),
        }

    def outputs(self) -> list[Any]:
        """Everything that ``shown`` may change."""
        return [self.system_box, self.decoding_box]


def options_of(values: tuple[Any, ...]) -> AnswerOptions:
    """The controls' values as options; raises SettingsError where one cannot be used."""
    return AnswerOptions.parse(dict(zip(NAMES, values, strict=True)))


def _slide(
    span: tuple[float, float, float], value: float, said: tuple[str, str], elem_id: str
) -> gr.Slider:
    """A slider over low, high and step, with its label and help."""
    low, high, step = span
    label, help_sentence = said
    with gr.Column(min_width=200, elem_classes="field"):
        slider = gr.Slider(low, high, value, step=step, label=label, buttons=[], elem_id=elem_id)
        piece(help_text(help_sentence))
    return slider
