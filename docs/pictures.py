"""Make the pictures of README.md, and one of every tab in both widths and colour schemes.

    python -m docs.pictures [FOLDER]

Walks the whole path with the real starter and the sample data, in the system's Chromium. The
pictures of README go to docs/; with a FOLDER, every tab is taken into it as well.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from lora_engine import catalog
from tests.app.serving import running_page, running_worker
from tests.browser import steps
from tests.browser.conftest import CHROMIUM_NAMES, CHROMIUM_OPTIONS, NARROW, WIDE

DOCS = Path(__file__).parent
TABS = ("Data", "Train", "Runs", "Playground")
STARTER = "smollm2-135m-instruct"


def main(folder: Path | None) -> None:
    """Walk the path and take the pictures."""
    model = catalog.resolve(STARTER, catalog.DEFAULT_HOME).path
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        home = Path(temporary) / "home"
        (home / "models").mkdir(parents=True)
        (home / "models" / STARTER).symlink_to(model, target_is_directory=True)
        path = next(filter(None, map(shutil.which, CHROMIUM_NAMES)))
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_OPTIONS)
        with running_page(home) as address, running_worker(home):
            state = walk(browser, address)
            if folder is not None:
                every_tab(browser, address, state, folder)
        browser.close()


def walk(browser: Browser, address: str) -> Path:
    """From the sample data to an answer; gives what the browser remembers of it."""
    context = browser.new_context(viewport=WIDE)  # type: ignore[arg-type]
    context.set_default_timeout(900_000)
    page = opened(context, address)
    page.get_by_role("button", name="Use the sample data").click()
    expect(page.locator("#preview .sample").first).to_be_visible(timeout=60_000)
    take(page, DOCS / "data.png")
    page.locator("#to-train").click()
    page.get_by_label("Rank r", exact=True).wait_for()
    take(page, DOCS / "train.png")
    steps.start(page, "Lighthouse keeper")
    expect(page.locator("#run-header .pill")).to_have_text("Finished", timeout=900_000)
    take(page, DOCS / "runs.png")
    page.get_by_role("button", name="After training").click()
    page.locator("#measure-ranks").click()
    expect(page.locator("#ranks .ranks li").first).to_be_visible(timeout=300_000)
    page.locator("#after-training").evaluate("each => each.scrollIntoView()")
    take(page, DOCS / "after.png")
    page.locator("#run-playground").click()
    page.get_by_label("Your message", exact=True).fill("How do I make a good cup of tea?")
    page.locator("#send").click()
    expect(page.locator("#divergence")).to_contain_text("KL", timeout=300_000)
    take(page, DOCS / "playground.png")
    state = Path(tempfile.mkdtemp()) / "state.json"
    context.storage_state(path=state)
    context.close()
    return state


def every_tab(browser: Browser, address: str, state: Path, folder: Path) -> None:
    """Every tab, wide and narrow, light and dark, empty and full."""
    folder.mkdir(parents=True, exist_ok=True)
    for width, viewport in (("1280", WIDE), ("390", NARROW)):
        for scheme in ("light", "dark"):
            context = browser.new_context(
                viewport=viewport,  # type: ignore[arg-type]
                color_scheme=scheme,  # type: ignore[arg-type]
                storage_state=state,
            )
            page = opened(context, address)
            for tab in TABS:
                steps.go_to(page, tab)
                take(page, folder / f"{tab}-{width}-{scheme}.png", full=True)
            context.close()


def opened(context: BrowserContext, address: str) -> Page:
    """The page, as this person left it."""
    page = context.new_page()
    page.goto(address)
    page.wait_for_function("window.workbenchRestored")
    return page


def take(page: Page, path: Path, full: bool = False) -> None:
    """A picture once fonts and animations have come to rest."""
    page.wait_for_timeout(1500)
    page.screenshot(path=path, full_page=full, animations="disabled")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
