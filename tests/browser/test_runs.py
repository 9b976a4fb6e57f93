"""Runs on the page: stop, resume, delete, train again; another window; a restarted page."""

from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from tests.app.serving import free_port, running_page, running_worker
from tests.browser import steps
from tests.browser.conftest import Watched, Workshop


def long_run(page: Page, workshop: Workshop, name: str) -> None:
    """Start a run that does not end by itself soon."""
    steps.bring(page, workshop.table)
    page.locator("#to-train").click()
    steps.choose_model(page, workshop.model)
    steps.open_advanced(page)
    steps.set_number(page, "Epochs", 900)
    steps.set_number(page, "Batch size", 2)
    expect(page.locator("#estimate")).to_contain_text("900 epochs")
    steps.start(page, name)


def test_stop_resume_again_and_delete(watched: Watched, workshop: Workshop) -> None:
    page = watched.open()
    long_run(page, workshop, "Endless")
    steps.wait_for_status(page, "Training")
    expect(page.locator("#run-header [role=progressbar]")).to_be_visible()
    expect(page.locator("#run-chart svg polyline").first).to_be_visible()
    expect(page.locator(".queue-sign")).to_contain_text("Endless")

    other = watched.open()
    steps.go_to(other, "Runs")
    expect(other.locator("#run-header")).to_contain_text("Endless")
    expect(other.locator("#run-header .pill")).to_have_text("Training")

    page.get_by_role("button", name="Stop", exact=True).click()
    steps.wait_for_status(page, "Stopped")
    expect(other.locator("#run-header .pill")).to_have_text("Stopped")
    expect(page.locator("#run-result")).to_contain_text("what it learned is kept")
    expect(page.locator("#run-download a")).to_be_visible()
    other.close()

    page.get_by_role("button", name="Resume").click()
    steps.wait_for_status(page, "Training")
    page.add_style_tag(content="pre.log { max-height: 40px !important; }")
    page.get_by_role("button", name="Log").click()
    expect(page.locator("#run-log pre")).to_contain_text("Training")
    page.get_by_role("button", name="Stop", exact=True).click()
    steps.wait_for_status(page, "Stopped")
    page.wait_for_function("""() => {  // the log follows its newest line
      const log = document.querySelector('#run-log pre');
      return log.scrollTop > 0 && log.scrollHeight - log.scrollTop - log.clientHeight < 2;
    }""")

    page.get_by_role("button", name="Train again").click()
    expect(page.get_by_label("Batch size", exact=True)).to_have_value("2")
    expect(page.locator("#train-notice")).to_contain_text("Endless")

    steps.go_to(page, "Runs")
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Keep it").click()
    expect(page.get_by_role("button", name="Yes, delete it")).to_be_hidden()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Yes, delete it").click()
    expect(page.locator("#run-notice")).to_contain_text("was deleted")
    expect(page.locator("#run-list")).not_to_contain_text("Endless")


def test_a_run_outlives_the_page(browser: Browser, workshop: Workshop, tmp_path: Path) -> None:
    """The page's server ends and comes back while the page stays open."""
    home, port = tmp_path / "home", free_port()
    with running_worker(home):
        with running_page(home, port) as address:
            watched = Watched(browser, address)
            page = watched.open()
            long_run(page, workshop, "Survivor")
            steps.wait_for_status(page, "Training")
        expect(page.locator(".server-lost")).to_be_visible()
        watched.troubles.clear()  # the browser's own words about a server that is away
        with running_page(home, port):
            expect(page.locator(".server-lost")).to_be_hidden()
            page.wait_for_function("window.workbenchRestored")
            watched.troubles.clear()
            expect(page.locator("#run-header")).to_contain_text("Survivor")
            steps.wait_for_status(page, "Training")
            page.get_by_role("button", name="Stop", exact=True).click()
            steps.wait_for_status(page, "Stopped")
            steps.go_to(page, "Train")
            expect(page.locator("#counts")).to_contain_text("trainable")
            watched.context.close()
    assert watched.troubles == []
