"""The whole path of a person: upload, counts, train, watch, compare, download, unzip."""

import json
import re
import zipfile
from pathlib import Path

from playwright.sync_api import Page, expect

from lora_engine.config import LoraConfig, TrainConfig
from lora_engine.counts import count_parameters
from tests.browser import steps
from tests.browser.conftest import Watched, Workshop

FILES = {
    *("adapter_model.safetensors", "adapter_config.json", "train_config.json", "metrics.json"),
    "README.md",
}


def expected_count(workshop: Workshop, **lora: object) -> str:
    from lora_engine import catalog

    profile = catalog.profile(str(workshop.model), workshop.home)
    return f"{count_parameters(profile, LoraConfig.parse(lora)).trainable:,}"


def test_from_a_table_to_a_zip(watched: Watched, workshop: Workshop, tmp_path: Path) -> None:
    page = watched.open()

    steps.bring(page, workshop.table)
    expect(page.locator("#data-summary")).to_contain_text("40")
    expect(page.locator("#preview .turn.user").first).to_contain_text("What is 0?")
    expect(page.locator("#preview .turn.assistant.learned").first).to_contain_text("It is 0")
    page.locator("#to-train").click()

    steps.choose_model(page, workshop.model)
    trainable = page.locator("[data-count=trainable] strong")
    expect(page.get_by_label("q_proj × 2")).to_be_checked()
    expect(trainable).to_have_text(expected_count(workshop, r=8))
    steps.set_number(page, "Rank r", 4)
    expect(trainable).to_have_text(expected_count(workshop, r=4))
    page.get_by_label("k_proj × 2").check()
    targets = ["q_proj", "k_proj", "v_proj"]
    expect(trainable).to_have_text(expected_count(workshop, r=4, target_modules=targets))
    page.get_by_label("range slider for Rank r").press("ArrowRight")
    expect(page.get_by_label("Rank r", exact=True)).to_have_value("8")
    expect(trainable).to_have_text(expected_count(workshop, r=8, target_modules=targets))
    steps.open_advanced(page)
    steps.set_number(page, "Epochs", 4)
    expect(page.locator("#estimate")).to_contain_text("= 36 updates")

    steps.start(page, "Counting")
    steps.wait_for_status(page, "Finished")
    expect(page.locator("#run-chart svg polyline.train")).to_be_visible()
    expect(page.locator("#run-chart svg circle.validation-dot").first).to_be_visible()
    expect(page.locator("#run-header")).to_contain_text("36 of 36")
    expect(page.locator("#run-result")).to_contain_text("the model had never seen")

    names = _download(page, "#run-download a", tmp_path)
    assert names >= FILES

    page.locator("#run-playground").click()
    steps.set_number(page, "Your message", "What is 3?")
    page.get_by_label("Your message").press("Enter")
    expect(page.locator("#divergence")).to_contain_text("KL", timeout=120_000)
    for side in ("#base-side", "#adapted-side"):
        expect(page.locator(f"{side} .turn.user")).to_have_text("PersonWhat is 3?")
        expect(page.locator(f"{side} .turn.assistant .said")).to_have_text(re.compile(r"\S"))
    assert _download(page, "#playground-download a", tmp_path) == names

    steps.reload(page)
    expect(page.get_by_role("tab", name="Playground")).to_have_attribute("aria-selected", "true")
    steps.go_to(page, "Runs")
    expect(page.locator("#run-header")).to_contain_text("Counting")
    steps.go_to(page, "Train")
    expect(page.get_by_label("Rank r", exact=True)).to_have_value("8")
    expect(page.get_by_label("k_proj × 2")).to_be_checked()


def _download(page: Page, link: str, folder: Path) -> set[str]:
    with page.expect_download() as caught:
        page.locator(link).click()
    download = caught.value
    assert download.suggested_filename.startswith("counting-")
    path = folder / download.suggested_filename
    download.save_as(path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        config = TrainConfig.parse(json.loads(archive.read("train_config.json")))
        assert config.lora.target_modules is not None
        assert set(config.lora.target_modules) == {"q_proj", "k_proj", "v_proj"}
        return set(archive.namelist())
