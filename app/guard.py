"""Between handlers and the outside: sentences for people, tracebacks for the log only."""

import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import gradio as gr

from app.html import notice
from app.wording import common
from lora_engine.errors import WorkbenchError

log = logging.getLogger("app")

P = ParamSpec("P")
T = TypeVar("T")
Updates = dict[Any, Any]
"""Component → its new value or ``gr.update``; components left out stay as they are."""

HIDDEN: dict[str, Any] = {
    "api_visibility": "private",
    "show_progress": "hidden",
    "show_progress_on": [],
}
"""Keyword arguments of events that belong to the page and are no endpoint.

Without the last, hidden progress is still told to every component that any event may change, twice
an event, which kept the browser busy for a second at each change of a setting.
"""


def at_each(
    listen: Callable[..., Any], function: Any, inputs: Any, outputs: Any, **options: Any
) -> Any:
    """Call ``function`` at each event of ``listen``, surely at the last one; gives what ``then``
    gives.

    Where an event comes while a listener's answer is waited for, Gradio 6.31 afterwards repeats all
    listeners of that event, so that two of them that wait repeat each other without end. What
    comes after a listener that needs no answer is repeated by itself.
    """
    first = listen(None, None, None, js="() => {}", **HIDDEN)
    return first.then(
        function, inputs, outputs, trigger_mode="always_last", **{**HIDDEN, **options}
    )


def sentence_of(error: Exception) -> str:
    """What the person is told about ``error``; unexpected ones are logged with their traceback."""
    if isinstance(error, WorkbenchError):
        return str(error)
    log.error("Unexpected error", exc_info=error)
    return common.UNEXPECTED


def endpoint(function: Callable[P, T]) -> Callable[P, T]:
    """For functions that programs call: any error reaches them as one sentence."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  the door: nothing may pass as a traceback
            raise gr.Error(sentence_of(error), print_exception=False) from None

    return call


def handler(
    place: gr.HTML, clear: bool = True
) -> Callable[[Callable[P, Updates | Iterator[Updates]]], Callable[P, Any]]:
    """For event handlers that return ``Updates``: an error is shown at ``place``.

    Where the handler ends well and says nothing about ``place``, an earlier message is cleared,
    unless ``clear`` is false.
    """

    def wrap(function: Callable[P, Updates | Iterator[Updates]]) -> Callable[P, Any]:
        if inspect.isgeneratorfunction(function):
            return _guard_steps(function, place)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> Updates:
            try:
                updates = function(*args, **kwargs)
            except Exception as error:  # noqa: BLE001  shown as a sentence
                return {place: notice("error", sentence_of(error))}
            assert isinstance(updates, dict)
            return {place: "", **updates} if clear else updates

        return call

    return wrap


def _guard_steps(
    function: Callable[P, Iterator[Updates]], place: gr.HTML
) -> Callable[P, Iterator[Updates]]:
    @functools.wraps(function)
    def steps(*args: P.args, **kwargs: P.kwargs) -> Iterator[Updates]:
        yield {place: ""}
        try:
            yield from function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  shown as a sentence
            yield {place: notice("error", sentence_of(error))}

    return steps
