"""The Playground's columns: the base model's and one an adapter, side by side."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from app import playground_view as view
from app.comparing import MOST_ADAPTERS, Conversations, sorts
from app.guard import Updates
from app.pieces import piece
from jobs.job import Job


class Sides:
    """Columns for the base and for up to ``MOST_ADAPTERS`` adapters; unused ones are hidden."""

    def __init__(self) -> None:
        heads = [view.BASE, *[view.ADAPTED] * MOST_ADAPTERS]
        names = ["base-side", "adapted-side"]
        names += [f"adapted-side-{number}" for number in range(2, MOST_ADAPTERS + 1)]
        with gr.Row(equal_height=True, elem_classes="sides"):
            self.columns = [
                piece(
                    view.side_html(head, ()), js_on_load=view.FOLLOW_JS, elem_id=name,
                    visible=place < 2, min_width=200,
                )
                for place, (head, name) in enumerate(zip(heads, names, strict=True))
            ]  # fmt: skip

    def outputs(self) -> list[Any]:
        """The columns."""
        return list(self.columns)

    def fresh(self, jobs: Sequence[Job]) -> Updates:
        """A column for the base and for each run, with nothing said; the others are hidden."""
        blank = view.labels_html if jobs and sorts(jobs[0]) else view.side_html
        heads = view.heads(jobs)
        return {
            column: gr.update(visible=True, value=blank(heads[place], ()))
            if place < len(heads)
            else gr.update(visible=False)
            for place, column in enumerate(self.columns)
        }

    def said(
        self,
        jobs: Sequence[Job],
        said: Conversations,
        partial: Sequence[str] | None = None,
        notes: Sequence[str] = (),
    ) -> Updates:
        """Every side's conversation; ``partial`` are the answers being written."""
        updates: Updates = {}
        for place, (head, turns) in enumerate(zip(view.heads(jobs), said.sides, strict=True)):
            writing = partial[place] if partial is not None else None
            note = notes[place] if notes else ""
            updates[self.columns[place]] = view.side_html(head, turns, writing, note)
        return updates

    def sorted(
        self, jobs: Sequence[Job], labels: Sequence[str], chances: Sequence[Sequence[float]]
    ) -> Updates:
        """Every side's probability of each label."""
        return {
            column: view.labels_html(head, dict(zip(labels, each, strict=True)))
            for column, head, each in zip(self.columns, view.heads(jobs), chances, strict=False)
        }
