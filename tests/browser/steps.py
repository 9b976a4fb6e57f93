"""What a person does on the page."""

from pathlib import Path

from playwright.sync_api import Page, expect


def go_to(page: Page, tab: str) -> None:
    page.get_by_role("tab", name=tab).click()


def upload(page: Page, path: Path) -> None:
    page.locator("#upload-data input[type=file]").set_input_files(path)


def bring(page: Page, path: Path) -> None:
    """Upload a table and wait until its rows are shown."""
    upload(page, path)
    expect(page.locator("#data-summary")).to_contain_text(path.name)
    expect(page.locator("#preview .sample").first).to_be_visible()


def choose_model(page: Page, model: Path, architecture: str = "LlamaForCausalLM") -> None:
    """Type the path of a model folder and wait until it was looked at."""
    box = page.get_by_label("Base model", exact=True)
    box.fill(str(model))
    box.press("Enter")
    expect(page.locator("#model-notice")).to_contain_text(architecture)


def set_number(page: Page, label: str, value: float | str) -> None:
    page.get_by_label(label, exact=True).fill(str(value))


def open_advanced(page: Page) -> None:
    page.get_by_role("button", name="Advanced settings").click()
    expect(page.get_by_label("Epochs", exact=True)).to_be_visible()


def start(page: Page, name: str) -> None:
    """Press Train and wait until the run is shown."""
    page.get_by_label("Name of the run (optional)").fill(name)
    page.locator("#start-run").click()
    expect(page.locator("#run-header")).to_contain_text(name)


def wait_for_status(page: Page, status: str) -> None:
    expect(page.locator("#run-header .pill")).to_have_text(status, timeout=120_000)


def reload(page: Page) -> None:
    """Load the page anew and wait until it is as it was."""
    page.reload()
    page.wait_for_function("window.workbenchRestored")


def overflow(page: Page) -> list[str]:
    """What reaches beyond the window's right edge, outside of places that scroll by themselves."""
    found: list[str] = page.evaluate("""
        [...document.querySelectorAll('main *')].filter((each) => {
          const box = each.getBoundingClientRect();
          return box.width > 0 && box.right > window.innerWidth + 1 &&
            getComputedStyle(each).visibility !== 'hidden' &&
            !each.closest('.scroll, .visually-hidden, pre');
        }).map((each) => each.outerHTML.slice(0, 120))
    """)
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return found + ([f"the page, by {wide} pixels"] if wide > 0 else [])
