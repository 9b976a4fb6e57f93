"""What may go wrong in any handler."""

from typing import Any

import pytest

from app.guard import handler
from app.html import notice
from app.main import Page
from app.wording import common
from tests.app.handlers.steps import all_events


def test_unexpected_errors_are_a_general_sentence(
    page: Page, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> dict[Any, Any]:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("app.guard.log.propagate", True)
    shown = handler(page.data.notice)(broken)()
    assert shown == {page.data.notice: notice("error", common.UNEXPECTED)}
    assert "secret detail" in caplog.text


def test_no_event_of_the_page_tells_its_progress_to_components(page: Page) -> None:
    """Gradio tells it to all that an event may change, twice an event: on this page a second of
    the browser's work at each change of a setting."""
    hidden = [e for e in all_events(page) if e.api_visibility == "private" and e.fn is not None]
    assert len(hidden) > 50
    assert [each.name for each in hidden if each.show_progress_on != []] == []


def test_no_two_listeners_of_an_event_can_repeat_each_other(page: Page) -> None:
    """Where one has to wait, Gradio repeats all listeners of its event (see ``guard.at_each``)."""
    waiting: dict[tuple[Any, str], list[str]] = {}
    for each in all_events(page):
        if each.fn is not None and each.trigger_mode == "always_last":
            for at in each.targets:
                waiting.setdefault(at, []).append(each.name)
    several = {at: names for at, names in waiting.items() if len(names) > 1 and at[1] != "then"}
    assert waiting
    assert several == {}
