"""What the browser remembers, so that a reload or a restart brings the same page back."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

STORAGE_SECRET = "lora-workbench"
"""Not secret: nothing confidential is kept. It is fixed so that a restarted page can read it."""


@dataclass(frozen=True)
class Memory:
    """One entry of the browser's local storage each."""

    tab: gr.BrowserState
    dataset: gr.BrowserState
    """The chosen data set's id, or an empty text."""
    run: gr.BrowserState
    """The chosen run's number, or 0."""
    form: gr.BrowserState
    """The Train tab's values: dotted setting name → value, ``base_model`` and ``dataset`` as well;
    empty before the first change."""

    def open_tab(self, tabs: gr.Tabs, name: str) -> dict[Any, Any]:
        """Updates that show a tab and remember it; a click on a tab is remembered by itself."""
        return {tabs: gr.Tabs(selected=name), self.tab: name}

    @classmethod
    def build(cls) -> "Memory":
        """Make the entries; must be called inside the page's ``gr.Blocks``."""
        return cls(
            _entry("tab", "data"), _entry("dataset", ""), _entry("run", 0), _entry("form", {})
        )


def _entry(name: str, default: object) -> gr.BrowserState:
    return gr.BrowserState(default, storage_key=f"lora-workbench.{name}", secret=STORAGE_SECRET)
