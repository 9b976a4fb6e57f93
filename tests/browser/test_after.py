"""After training, on the page: ranks, smaller, further, elsewhere, added up; several compared."""

import re
import zipfile
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser import steps
from tests.browser.conftest import NARROW, Workshop


def short_run(page: Page, name: str, r: int) -> None:
    """A finished run with the form as it is."""
    steps.go_to(page, "Train")
    steps.set_number(page, "Rank r", r)
    steps.start(page, name)
    steps.wait_for_status(page, "Finished")


def open_run(page: Page, name: str) -> None:
    steps.go_to(page, "Runs")
    page.locator("#run-list .run").filter(has_text=name).first.click()
    expect(page.locator("#run-header h2")).to_have_text(name)


def test_what_can_be_done_with_finished_adapters(
    page: Page, workshop: Workshop, tmp_path: Path
) -> None:
    steps.bring(page, workshop.table)
    page.locator("#to-train").click()
    steps.choose_model(page, workshop.model)
    short_run(page, "First adapter", 8)
    short_run(page, "Second adapter", 4)
    _compare_runs(page)
    page.get_by_role("button", name="After training").click()

    _answer_a_file(page, tmp_path)

    page.get_by_role("button", name="Measure the ranks").click()
    expect(page.locator("#ranks .ranks li").first).to_be_visible()
    expect(page.locator("#ranks")).to_contain_text("90 %")

    page.get_by_label("New rank").fill("0")
    page.locator("#shrink").click()
    expect(page.locator("#shrink-notice [role=alert]")).to_contain_text("from 1 to 3")
    page.get_by_label("New rank").fill("2")
    page.locator("#shrink").click()
    expect(page.locator("#shrink-notice .success")).to_contain_text("From rank 4 to 2")
    expect(page.locator("#run-header h2")).to_have_text("Second adapter")
    expect(page.locator("#run-list")).to_contain_text("Second adapter, rank 2")

    page.get_by_role("button", name="Export for Ollama").click()
    with page.expect_download() as caught:
        page.locator("#exported-gguf a").click()
    caught.value.save_as(tmp_path / "gguf.zip")
    names = set(zipfile.ZipFile(tmp_path / "gguf.zip").namelist())
    assert {Path(name).suffix for name in names} >= {".gguf"}
    assert any("Modelfile" in name for name in names)
    page.get_by_role("button", name="Merge into a full model").click()
    expect(page.locator("#exported-merged")).to_contain_text("The model is in")
    expect(page.locator("#exported-gguf a")).to_be_visible()

    page.get_by_role("combobox", name="The other runs").click()
    page.get_by_role("option", name=re.compile("First adapter")).click()
    page.keyboard.press("Escape")
    page.get_by_label("Rank (empty").fill("3")
    page.get_by_role("button", name="Combine").click()
    made = page.locator("#combine-notice .success")
    expect(made).to_contain_text("First adapter")
    expect(made).to_contain_text("in rank 3")
    made.get_by_role("button", name="Show it").click()
    expect(page.locator("#run-header h2")).to_contain_text("combined")
    expect(made).to_be_hidden()

    page.get_by_role("button", name="Train this adapter further").click()
    expect(page.locator("#train-notice")).to_contain_text("goes on from")
    steps.start(page, "Further")
    steps.wait_for_status(page, "Finished")

    _compare_several(page)
    _bring(page, workshop)


def _compare_runs(page: Page) -> None:
    """The second run beside the first, which had another rank."""
    page.get_by_role("button", name="Compare with other runs").click()
    box = page.get_by_role("combobox", name="Other runs")
    box.click()
    page.get_by_role("option", name=re.compile("First adapter")).click()
    page.keyboard.press("Escape")
    compared = page.locator("#compared")
    expect(compared.locator("table").first.locator("tbody tr")).to_have_count(1)
    expect(compared.locator("table").first).to_contain_text("Rank r")
    expect(compared.locator("polyline")).to_have_count(2)
    expect(compared.locator(".verdict")).to_contain_text("held-out row")
    compared.locator("svg").hover()
    expect(compared.locator(".tip")).to_contain_text("Update")
    assert steps.overflow(page) == []
    page.get_by_role("button", name="Compare with other runs").click()


def _answer_a_file(page: Page, folder: Path) -> None:
    """A kept data set with its answers, then a file of questions alone."""
    page.get_by_role("combobox", name="Data set").last.click()
    page.get_by_role("option", name="numbers.csv").click()
    page.locator("#answers-limit input").fill("3")
    page.locator("#answers-longest input").fill("4")
    page.locator("#answers-with-base input").check()
    page.locator("#answer-file").click()
    expect(page.locator("#answers")).to_contain_text("ROUGE-L")
    expect(page.locator("#answers tbody tr")).to_have_count(3)
    with page.expect_download() as caught:
        page.locator("#answers a").click()
    assert caught.value.suggested_filename.endswith("-answers.csv")
    caught.value.save_as(folder / "answers.csv")
    head = (folder / "answers.csv").read_text("utf-8-sig").splitlines()[0]
    assert head == "question,answer,model_answer,base_answer"

    (folder / "asked.csv").write_text("Nr,Frage\n1,Wie weit ist es?\n2,Und dann?\n")
    with page.expect_file_chooser() as chooser:
        page.locator("#answers-upload").click()
    chooser.value.set_files(folder / "asked.csv")
    expect(page.get_by_role("combobox", name="Data set").last).to_have_value(
        "asked.csv (from your disk)"
    )
    page.locator("#answer-file").click()
    expect(page.locator("#answers")).to_contain_text("2 rows were answered")
    expect(page.locator("#answers")).to_contain_text("Wie weit ist es?")
    assert steps.overflow(page) == []


def _compare_several(page: Page) -> None:
    """The base and three adapters, side by side and below each other."""
    open_run(page, "First adapter")
    page.locator("#run-playground").click()
    box = page.get_by_role("combobox", name="Compare with")
    for name in ("Second adapter (", "Further ("):
        box.click()
        page.get_by_role("option", name=name).click()
    send = page.locator("#send")
    expect(send).to_have_text("Send to all 4")
    page.get_by_label("Your message", exact=True).fill("What is <b>3</b>?")
    send.click()
    expect(page.locator("#adapted-side-3 .side-note")).to_contain_text("KL")
    for side in ("base-side", "adapted-side", "adapted-side-2", "adapted-side-3"):
        expect(page.locator(f"#{side} .turn.user .said")).to_have_text("What is <b>3</b>?")
        expect(page.locator(f"#{side} .turn.assistant")).to_have_count(1)
    expect(page.locator("#adapted-side-4")).to_be_hidden()
    expect(page.locator("#base-side .side-note")).to_have_count(0)

    steps.go_to(page, "Data")
    steps.go_to(page, "Playground")
    expect(page.locator("#adapted-side-2 .turn.assistant")).to_have_count(1)
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    boxes = [page.locator(f"#{side}").bounding_box() for side in ("base-side", "adapted-side")]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[1]["y"] >= boxes[0]["y"] + boxes[0]["height"]
    assert steps.overflow(page) == []
    page.set_viewport_size({"width": 1280, "height": 900})


def _bring(page: Page, workshop: Workshop) -> None:
    """An adapter from elsewhere, and what is none."""
    steps.go_to(page, "Runs")
    page.get_by_role("button", name="Bring an adapter").click()
    page.get_by_role("button", name="Check and add").click()
    notice = page.locator("#bring-notice")
    expect(notice.locator("[role=alert]")).to_contain_text("Choose a zip or type a path")
    page.locator("#bring-adapter input[type=file]").set_input_files(
        {"name": "no.zip", "mimeType": "application/zip", "buffer": b"no zip at all"}
    )
    expect(notice.locator("[role=alert]")).not_to_contain_text("Choose a zip or type a path")
    adapter = next(iter(workshop.home.glob("jobs/*/adapter.zip")))
    page.locator("#bring-path textarea, #bring-path input").fill(str(adapter))
    page.get_by_role("button", name="Check and add").click()
    expect(page.locator("#run-header h2")).to_have_text("adapter")
    expect(page.locator("#run-result")).to_contain_text("brought in")
