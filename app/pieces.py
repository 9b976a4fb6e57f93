"""Gradio components in the page's own dress."""

from typing import Any

import gradio as gr


def piece(value: str = "", **options: Any) -> gr.HTML:
    """HTML from our own view functions, styled by page.css alone.

    ``options`` are those of ``gr.HTML``; ``value`` must have passed through ``app.html``.
    """
    return gr.HTML(value, **{"apply_default_css": False, "js_on_load": None, **options})
