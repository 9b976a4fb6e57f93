"""What may go wrong in any handler."""

from typing import Any

import pytest

from app.guard import handler
from app.html import notice
from app.main import Page
from app.wording import common


def test_unexpected_errors_are_a_general_sentence(
    page: Page, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> dict[Any, Any]:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("app.guard.log.propagate", True)
    shown = handler(page.data.notice)(broken)()
    assert shown == {page.data.notice: notice("error", common.UNEXPECTED)}
    assert "secret detail" in caplog.text
