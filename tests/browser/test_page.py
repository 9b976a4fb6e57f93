"""The page by itself: both themes, a narrow window, the keyboard, reloads, settings files."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from lora_engine.config import TrainConfig
from tests.browser import steps
from tests.browser.conftest import NARROW, Watched, Workshop

TABS = ("Data", "Train", "Runs", "Playground")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_sideways_scrolling_on_a_narrow_window(
    watched: Watched, workshop: Workshop, theme: str
) -> None:
    page = watched.open()
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    expect(page.get_by_text("Drop a file here, or click to choose one")).to_be_in_viewport()
    steps.bring(page, workshop.table)
    for tab in TABS:
        steps.go_to(page, tab)
        expect(page.get_by_role("tab", name=tab)).to_have_attribute("aria-selected", "true")
        assert steps.overflow(page) == [], tab
    steps.go_to(page, "Train")
    steps.open_advanced(page)
    assert steps.overflow(page) == []


def test_the_choice_of_theme_outlives_a_reload(page: Page) -> None:
    def background() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = background()
    page.get_by_role("button", name="Switch between light and dark").click()
    expect(page.locator("body")).to_have_class("dark")
    dark = background()
    assert dark != light
    steps.reload(page)
    expect(page.locator("body")).to_have_class("dark")
    assert background() == dark


def test_every_control_has_a_name(page: Page, workshop: Workshop) -> None:
    steps.bring(page, workshop.table)
    for tab in TABS:
        steps.go_to(page, tab)
        if tab == "Train":
            steps.open_advanced(page)
        nameless = page.evaluate("""
            [...document.querySelectorAll('input, textarea, select, button')]
              .filter((each) => each.offsetParent !== null && each.type !== 'file')
              .filter((each) => !(each.innerText || each.getAttribute('aria-label') ||
                each.title || each.labels?.[0]?.innerText || '').trim())
              .map((each) => each.outerHTML.slice(0, 200))
        """)
        assert nameless == [], tab


def test_cards_work_from_the_keyboard(page: Page, workshop: Workshop) -> None:
    steps.bring(page, workshop.table)
    steps.go_to(page, "Train")
    quick = page.locator("[data-action=preset][data-id=quick]")
    quick.hover()  # waits until it is drawn and stands still, as a person would
    quick.focus()
    page.keyboard.press("Enter")
    expect(quick).to_have_attribute("aria-pressed", "true")
    steps.open_advanced(page)
    expect(page.get_by_label("Stop after (updates)")).to_have_value("20")
    steps.set_number(page, "Epochs", 7)
    expect(quick).to_have_attribute("aria-pressed", "false")
    steps.reload(page)
    steps.open_advanced(page)
    expect(page.get_by_label("Epochs", exact=True)).to_have_value("7")


def test_data_chosen_for_training_is_the_chosen_data_everywhere(
    page: Page, workshop: Workshop, tmp_path: Path
) -> None:
    other = tmp_path / "other.csv"
    other.write_text("prompt,completion\nAnd one?,Two.\nAnd three?,Four.\n")
    steps.bring(page, workshop.table)
    steps.bring(page, other)
    steps.go_to(page, "Train")
    box = page.get_by_label("Data set", exact=True)
    expect(box).to_have_value(re.compile("other.csv"))
    box.click()
    page.get_by_role("option", name=re.compile(workshop.table.name)).first.click()
    expect(page.locator("#data-summary")).to_contain_text(workshop.table.name)
    steps.reload(page)
    expect(box).to_have_value(re.compile(workshop.table.name))
    steps.go_to(page, "Data")
    expect(page.locator("#data-summary")).to_contain_text(workshop.table.name)


def load_settings(page: Page, path: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Load settings").click()
    chooser.value.set_files(path)


def test_settings_are_saved_and_loaded(page: Page, workshop: Workshop, tmp_path: Path) -> None:
    steps.bring(page, workshop.table)
    page.locator("#to-train").click()
    steps.set_number(page, "Rank r", 6)
    expect(page.locator("#counts")).to_contain_text("345,600")
    with page.expect_download() as caught:
        page.get_by_role("button", name="Save settings").click()
    path = tmp_path / caught.value.suggested_filename
    caught.value.save_as(path)
    config = TrainConfig.read(path)
    assert config.lora.r == 6
    assert config.lora.target_modules == ("q_proj", "v_proj")

    changed = config.to_json() | {"epochs": 9, "lora": {"r": 32, "lora_alpha": 64}}
    path.write_text(json.dumps(changed))
    load_settings(page, path)
    expect(page.get_by_label("Rank r", exact=True)).to_have_value("32")
    expect(page.get_by_label("Alpha α", exact=True)).to_have_value("64")
    expect(page.locator("#train-notice")).to_contain_text("were loaded")
    expect(page.locator("#counts")).to_contain_text("1,843,200")

    path.write_text("[[[")
    load_settings(page, path)
    expect(page.locator("#train-trouble")).to_contain_text("not a settings file")
    expect(page.get_by_label("Rank r", exact=True)).to_have_value("32")
    steps.set_number(page, "Rank r", 16)
    expect(page.locator("#train-trouble")).to_be_hidden()


def test_loaded_settings_keep_their_data_set_over_a_reload(
    page: Page, workshop: Workshop, tmp_path: Path
) -> None:
    steps.bring(page, workshop.table)
    labels = tmp_path / "labels.csv"
    labels.write_text("text,label\n" + "".join(f"day {n},{'ab'[n % 2]}\n" for n in range(30)))
    steps.bring(page, labels)
    page.locator("#to-train").click()
    expect(page.locator("#train-notice")).to_contain_text("MiniLM")
    dataset = hashlib.sha256(workshop.table.read_bytes()).hexdigest()[:16]
    saved = {"dataset": dataset, "base_model": "smollm2-135m-instruct", "epochs": 9}
    (tmp_path / "saved.json").write_text(json.dumps(saved))
    load_settings(page, tmp_path / "saved.json")
    box = page.get_by_label("Data set", exact=True)
    model = page.get_by_label("Base model", exact=True)
    steps.open_advanced(page)
    for _ in range(2):
        expect(page.locator("#data-summary")).to_contain_text(workshop.table.name)
        expect(box).to_have_value(re.compile(workshop.table.name))
        expect(model).to_have_value(re.compile("SmolLM2"))
        expect(page.get_by_label("Epochs", exact=True)).to_have_value("9")
        steps.reload(page)
        steps.open_advanced(page)


def test_a_proxys_page_about_an_error_is_no_new_server(page: Page, watched: Watched) -> None:
    page.evaluate("window.sameAsBefore = true")
    page.route("**/app_id", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"))
    expect(page.locator(".server-lost")).to_be_visible()
    page.unroute("**/app_id")
    expect(page.locator(".server-lost")).to_be_hidden()
    assert page.evaluate("window.sameAsBefore"), "it was not loaded anew"
    watched.troubles.clear()  # the browser's own words about the answer
