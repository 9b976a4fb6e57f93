"""Bad input at the page: a sentence at its place, nothing lost, nothing run."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.app.serving import running_page
from tests.app.test_bad_input import FILES
from tests.browser import steps
from tests.browser.conftest import Watched, Workshop
from tests.model_files import write_model

EVIL = "<img src=x onerror=\"document.title='hacked'\"><script>document.title='hacked'</script>"


@pytest.mark.parametrize("name", ["picture.csv", "zip.csv", "empty.csv", "header.csv"])
def test_a_bad_file_is_refused_and_the_data_set_stays(
    page: Page, workshop: Workshop, tmp_path: Path, name: str
) -> None:
    steps.bring(page, workshop.table)
    path = tmp_path / name
    FILES[name](path)
    steps.upload(page, path)
    expect(page.locator("#data-notice [role=alert]")).to_be_visible()
    expect(page.locator("#data-summary")).to_contain_text(workshop.table.name)
    steps.bring(page, workshop.table)


def test_rows_are_shown_as_text(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "evil.csv"
    cell = EVIL.replace('"', '""')
    path.write_text(f'question,answer,"{cell}"\n"{cell}","# **bold** $x$ {cell}",1\n')
    steps.bring(page, path)
    expect(page.locator("#preview")).to_contain_text("<script>document.title='hacked'</script>")
    expect(page.locator("#preview")).to_contain_text("# **bold** $x$")
    assert page.locator("#preview img, #preview script, #preview strong").count() == 0
    page.locator("#role-system input").click()
    assert page.title() == "LoRA Workbench"


@pytest.mark.parametrize(
    ("label", "value", "field", "sentence"),
    [
        ("Rank r", "0", "lora-r", "Rank r must be at least 1"),
        ("Rank r", "2.5", "lora-r", "Rank r must be a whole number"),
        ("Alpha α", "-1", "lora-lora-alpha", "Alpha α must be greater than 0"),
        ("Dropout", "1.5", "lora-lora-dropout", "Dropout must be less than 1"),
        ("Rank r", "", "lora-r", "is empty"),
    ],
)
def test_a_bad_number_has_its_sentence_below_it(
    page: Page, workshop: Workshop, label: str, value: str, field: str, sentence: str
) -> None:
    steps.bring(page, workshop.table)
    page.locator("#to-train").click()
    expect(page.locator("#counts")).to_contain_text("trainable")
    runs = page.locator("#run-list .run").count()
    steps.set_number(page, label, value)
    problem = page.locator(f"#setting-{field}-problem")
    expect(problem).to_contain_text(sentence)
    page.locator("#start-run").click()
    expect(problem).to_contain_text(sentence)
    expect(page.get_by_role("tab", name="Train")).to_have_attribute("aria-selected", "true")
    assert page.locator("#run-list .run").count() == runs
    steps.set_number(page, label, "0.5" if label == "Dropout" else "8")
    expect(problem).not_to_contain_text(sentence)


def test_a_folded_field_is_opened_where_it_is_why_nothing_starts(
    page: Page, workshop: Workshop
) -> None:
    steps.bring(page, workshop.table)
    page.locator("#to-train").click()
    steps.open_advanced(page)
    steps.set_number(page, "Batch size", 0)
    problem = page.locator("#setting-batch-size-problem")
    expect(problem).to_contain_text("at least 1")
    page.get_by_role("button", name="Advanced settings").click()
    expect(problem).to_be_hidden()
    page.locator("#start-run").click()
    expect(page.locator("#train-trouble")).to_contain_text("Batch size must be at least 1")
    expect(problem).to_be_visible()
    page.get_by_label("Seed", exact=True).scroll_into_view_if_needed()
    expect(page.locator("#start-run")).to_be_in_viewport()
    steps.set_number(page, "Batch size", 4)
    expect(page.locator("#train-trouble")).to_be_hidden()


def test_no_target_module(page: Page, workshop: Workshop) -> None:
    steps.bring(page, workshop.table)
    page.locator("#to-train").click()
    for name in ("q_proj × 30", "v_proj × 30"):
        page.get_by_label(name).uncheck()
    problem = page.locator("#setting-lora-target-modules-problem")
    expect(problem).to_contain_text("at least one target module")
    page.get_by_role("button", name="Query and value", exact=True).click()
    expect(problem).not_to_contain_text("at least one target module")


def test_a_folder_that_is_no_model(page: Page, workshop: Workshop, tmp_path: Path) -> None:
    steps.bring(page, workshop.table)
    page.locator("#to-train").click()
    broken = write_model(tmp_path / "broken")
    (broken / "config.json").unlink()
    box = page.get_by_label("Base model", exact=True)
    box.fill(str(broken))
    box.press("Enter")
    expect(page.locator("#model-notice [role=alert]")).to_contain_text("config.json")
    page.locator("#start-run").click()
    expect(page.locator("#model-notice [role=alert]")).to_contain_text("config.json")
    steps.choose_model(page, workshop.model)


def test_nothing_to_train_on(browser: Browser, tmp_path: Path) -> None:
    with running_page(tmp_path / "home") as address:
        watched = Watched(browser, address)
        page = watched.open()
        steps.go_to(page, "Train")
        page.locator("#start-run").click()
        expect(page.locator("#train-dataset-problem")).to_contain_text("Choose a data set first")
        expect(page.locator("#train-trouble")).to_contain_text("Choose a data set first")
        steps.go_to(page, "Runs")
        expect(page.locator("#run-list")).to_contain_text("Nothing here yet")
        expect(page.locator("#run-header")).to_contain_text("No runs yet")
        steps.go_to(page, "Playground")
        expect(page.get_by_text("No finished run yet")).to_be_visible()
        watched.context.close()
    assert watched.troubles == []
