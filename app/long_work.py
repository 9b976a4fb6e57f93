"""Long work that says at its place what it is doing."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import gradio as gr

from app.background import Background
from app.guard import Updates
from app.html import busy
from app.making import Tell
from app.wording import after as words

T = TypeVar("T")


def told(place: gr.HTML, work: Callable[[Tell], T]) -> Iterator[Updates | T]:
    """Do ``work`` aside; gives updates of ``place`` while it goes on and, last, its result."""
    yield {place: busy(words.WORKING, None)}
    doing = Background(lambda tell: work(lambda sentence: tell(0, sentence)))
    for _, sentence, _ in doing.steps():
        yield {place: busy(sentence or words.WORKING, None)}
    yield doing.result()
