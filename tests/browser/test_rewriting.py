"""Sequence to sequence on the page: a T5 learns rows, its answers are scored, and it answers."""

from pathlib import Path

from playwright.sync_api import Page, expect

from tests import tiny
from tests.browser import steps


def pairs(path: Path, rows: int) -> Path:
    lines = [f"name[Lamp {i}] area[sea],the light {i} burns at sea" for i in range(rows)]
    path.write_text("prompt,completion\n" + "\n".join(lines) + "\n")
    return path


def test_from_pairs_of_texts_to_scored_answers(page: Page, tmp_path: Path) -> None:
    model = tiny.save_model_folder(tmp_path / "tiny-t5", tiny.t5())
    steps.bring(page, pairs(tmp_path / "held-back.csv", 6))
    steps.bring(page, pairs(tmp_path / "lamps.csv", 24))
    page.locator("#to-train").click()
    steps.choose_model(page, model, "T5ForConditionalGeneration")
    expect(page.locator("#counts")).to_contain_text("q × ")
    steps.open_advanced(page)
    page.get_by_label("Test data", exact=True).click()
    page.get_by_role("option", name="held-back.csv").click()
    steps.start(page, "Lamps")
    steps.wait_for_status(page, "Finished")

    result = page.locator("#run-result")
    expect(result).to_contain_text("On the test data (6 rows)")
    for name in ("Exact match", "ROUGE-L"):
        expect(result).to_contain_text(name)

    page.locator("#run-playground").click()
    page.locator("#prompt textarea").fill("name[Lamp 3] area[sea]")
    page.locator("#send").click()
    expect(page.locator("#divergence")).to_contain_text("tokens/s", timeout=120_000)
