"""A real browser on the real page, with the real worker behind it."""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.app.conftest import make_table
from tests.app.serving import running_page, running_worker

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM_OPTIONS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
BROKEN_OFF = re.compile("AbortError|errored out")
WIDE = {"width": 1280, "height": 900}
NARROW = {"width": 390, "height": 844}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The system's Chromium; without one these tests are skipped, or fail where one is required."""
    path = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if path is None:
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail("REQUIRE_BROWSER is set, and there is no Chromium on this machine")
        pytest.skip("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_OPTIONS)
        expect.set_options(timeout=60_000)
        yield browser
        browser.close()


@dataclass(frozen=True)
class Workshop:
    """A running page and worker, and what a person brings along."""

    home: Path
    address: str
    table: Path
    model: Path


@pytest.fixture(scope="package")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real model of two layers with random weights."""
    from tests.tiny import save_model_folder

    return save_model_folder(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="package")
def workshop(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Iterator[Workshop]:
    folder = tmp_path_factory.mktemp("workshop")
    home = folder / "home"
    table = make_table(folder / "numbers.csv")
    with running_page(home) as address, running_worker(home):
        yield Workshop(home, address, table, model_folder)


class Watched:
    """Opens pages and notes what must never happen on one."""

    def __init__(self, browser: Browser, address: str) -> None:
        self.browser = browser
        self.address = address
        self.troubles: list[str] = []
        self.broken_off: dict[Page, list[str]] = {}
        """What Gradio says of requests that were broken off; a reload does that, and forgets it."""
        self.context = browser.new_context(
            viewport=WIDE,
            accept_downloads=True,
            color_scheme="light",  # type: ignore[arg-type]
        )
        self.context.set_default_timeout(60_000)

    def open(self) -> Page:
        """A page of the same person: what the browser remembers is shared."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.troubles.append(f"error on the page: {error}"))
        page.on("console", lambda message: self._hear(page, message))
        page.on("domcontentloaded", lambda loaded: self.broken_off.pop(loaded, None))
        page.on("dialog", lambda dialog: self.troubles.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: self._check_address(request.url))
        page.goto(self.address)
        page.wait_for_function("window.workbenchRestored")
        return page

    def _hear(self, page: Page, message: ConsoleMessage) -> None:
        if message.type != "error":
            return
        if BROKEN_OFF.search(message.text):
            self.broken_off.setdefault(page, []).append(message.text)
        else:
            self.troubles.append(f"console: {message.text}")

    def _check_address(self, url: str) -> None:
        if not url.startswith((self.address, "data:", "blob:")):
            self.troubles.append(f"asked for {url}")


@pytest.fixture
def watched(browser: Browser, workshop: Workshop) -> Iterator[Watched]:
    watched = Watched(browser, workshop.address)
    yield watched
    assert watched.broken_off == {}
    watched.context.close()
    assert watched.troubles == []


@pytest.fixture
def page(watched: Watched) -> Page:
    return watched.open()
