"""Gradio components in the page's own dress."""

from typing import Any

import gradio as gr


def piece(value: str = "", **options: Any) -> gr.HTML:
    """HTML from our own view functions, styled by page.css alone.

    ``options`` are those of ``gr.HTML``; ``value`` must have passed through ``app.html``.
    """
    return gr.HTML(value, **{"apply_default_css": False, "js_on_load": None, **options})


class Boxes(gr.CheckboxGroup):
    """Check boxes whose choices may change under way: a late request with a choice that is gone
    is taken without it, instead of being refused.
    """

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        """The chosen values that are still choices."""
        known = {value for _, value in self.choices}
        return [value for value in payload or () if value in known]
