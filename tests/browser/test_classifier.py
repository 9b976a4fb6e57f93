"""Labelled texts on the page: balance, a run with test data, its scores, and label bars."""

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests import tiny
from tests.browser import steps

LABELLED = [("good", "glad"), ("fine", "glad"), ("great", "glad"), ("bad", "sad")]


def labelled(path: Path, rows: int) -> Path:
    lines = [f"it was a {LABELLED[i % 4][0]} day {i},{LABELLED[i % 4][1]}" for i in range(rows)]
    path.write_text("text,label\n" + "\n".join(lines) + "\n")
    return path


def test_from_labelled_texts_to_label_bars(page: Page, tmp_path: Path) -> None:
    model = tiny.save_model_folder(
        tmp_path / "tiny-bert", tiny.bert().base_model, tiny.pair_tokenizer()
    )
    steps.bring(page, labelled(tmp_path / "held-back.csv", 12))
    steps.bring(page, labelled(tmp_path / "moods.csv", 48))
    expect(page.locator("#data-summary")).to_contain_text("36 (75%)")
    page.locator("#to-train").click()
    expect(page.locator("#train-notice")).to_contain_text("MiniLM L6 v2 was chosen")
    steps.choose_model(page, model, "BertFor")
    expect(page.locator("#counts")).to_contain_text("query × 2")
    steps.open_advanced(page)
    page.get_by_label("Weigh rare labels up").check()
    best_by = page.get_by_label("Best by", exact=True)
    expect(best_by).to_be_hidden()
    page.get_by_label("Keep the best").check()
    best_by.click()
    page.get_by_role("option", name="macro F1").click()
    page.get_by_label("Test data", exact=True).click()
    page.get_by_role("option", name="held-back.csv").click()
    expect(page.locator("#section-machine")).to_be_visible()
    steps.start(page, "Moods")
    steps.wait_for_status(page, "Finished")

    expect(page.locator("#run-header")).to_contain_text("Macro F1")
    expect(page.locator("#run-chart .legend")).to_contain_text("Accuracy, right scale")

    result = page.locator("#run-result")
    expect(result).to_contain_text("On the test data (12 rows)")
    for name in ("Accuracy", "F1 of", "Macro F1"):
        expect(result).to_contain_text(name)
    expect(result.locator("table.confusion").first.locator("td.right")).to_have_count(2)

    page.locator("#run-playground").click()
    expect(page.locator("#base-side")).to_contain_text("The labels appear here")
    expect(page.get_by_label("Longest answer")).to_have_count(0)
    page.locator("#examples button").first.click()
    expect(page.locator("#prompt textarea")).to_have_value(re.compile("it was a"))
    page.locator("#send").click()
    for side in ("#base-side", "#adapted-side"):
        expect(page.locator(f"{side} ul.bars li")).to_have_count(2, timeout=120_000)
