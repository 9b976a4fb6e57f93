"""How soon a control that was moved shows its counts, in a real browser."""

import shutil
from typing import Any

CHANGE_JS = """
async (ranks) => {
  const rank = document.querySelector('#setting-lora-r input');
  const counts = document.querySelector('#counts');
  const put = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set;
  const took = [];
  for (const value of ranks) {
    const before = counts.innerText, began = performance.now();
    const counted = new Promise((resolve) => {
      const watch = new MutationObserver(() => {
        if (counts.innerText !== before) { watch.disconnect(); resolve(); }
      });
      watch.observe(counts, {childList: true, subtree: true, characterData: true});
    });
    put.call(rank, value);
    rank.dispatchEvent(new Event('input', {bubbles: true}));
    await counted;
    took.push(performance.now() - began);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return took;
}
"""


def seconds_to_counts(address: str, changes: int) -> list[float] | None:
    """From a new rank in its field to its counts on the page, in seconds, ``changes`` times.

    Advanced is unfolded, so that every control is there. None where there is no Chromium.
    """
    from playwright.sync_api import sync_playwright

    from tests.browser import steps
    from tests.browser.conftest import CHROMIUM_NAMES, CHROMIUM_OPTIONS, WIDE

    path = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if path is None:
        return None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_OPTIONS)
        size: Any = WIDE
        page = browser.new_page(viewport=size)
        page.set_default_timeout(600_000)
        page.goto(address)
        page.wait_for_function("window.workbenchRestored")
        page.locator("#use-sample").click()
        page.locator("#preview .sample").first.wait_for()
        page.locator("#to-train").click()
        steps.open_advanced(page)
        page.get_by_text("trainable parameters").first.wait_for()
        ranks = [str(1 + number % 64) for number in range(changes)]
        took: list[float] = page.evaluate(CHANGE_JS, ["65", *ranks])
        browser.close()
    return [each / 1000 for each in took[1:]]
