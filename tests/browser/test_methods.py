"""Methods beyond LoRA and the table of tensors on the page."""

from playwright.sync_api import Page, expect

from tests.browser import steps
from tests.browser.conftest import NARROW, WIDE, Workshop


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()


def ready(page: Page, workshop: Workshop) -> None:
    """The Train tab for the tiny model, Advanced unfolded."""
    steps.bring(page, workshop.table)
    page.locator("#to-train").click()
    steps.choose_model(page, workshop.model)
    steps.open_advanced(page)


def test_only_what_belongs_to_a_method_is_shown(page: Page, workshop: Workshop) -> None:
    ready(page, workshop)
    expect(page.locator("#model-notice p")).to_be_visible()
    ratio = page.get_by_label("LoRA+ ratio", exact=True)
    expect(ratio).to_be_visible()
    choose(page, "Method", "GaLore")
    expect(page.get_by_label("GaLore: scale")).to_be_visible()
    expect(ratio).to_be_hidden()
    choose(page, "Method", "Full")
    expect(page.locator("#counts")).to_contain_text("the model's own weights")
    for section in ("adapter", "modules"):
        expect(page.locator(f"#section-{section}")).to_be_hidden()
    expect(page.get_by_label("GaLore: scale")).to_be_hidden()
    choose(page, "Method", "LoRA")
    expect(page.get_by_label("Rank r", exact=True)).to_be_visible()
    expect(ratio).to_have_value("")  # an empty number that was hidden is still empty
    expect(page.locator("#counts")).to_contain_text("q_proj")
    page.get_by_label("DoRA", exact=True).check()
    expect(page.locator("#counts")).to_contain_text("2,176")


def test_every_tensor_follows_the_form(page: Page, workshop: Workshop) -> None:
    ready(page, workshop)
    table = page.locator("#tensors-table")
    page.get_by_role("button", name="Every tensor").click()
    expect(table).to_contain_text("lora_A.default.weight")
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    assert table.locator(".scroll").evaluate("(box) => box.scrollWidth <= box.clientWidth")
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    page.get_by_label("Show names with").fill("layers.1.self_attn.q_proj")
    expect(table.locator("tbody tr")).to_have_count(3)
    steps.set_number(page, "Rank r", 5)
    expect(table.locator("tr.trained").first).to_contain_text("weight5 × 64")
    page.get_by_label("Only what is trained").check()
    expect(table.locator("tr.frozen")).to_have_count(0)
    page.get_by_label("as it is").check()
    expect(table.locator("tbody tr")).to_have_count(1)
    expect(table).not_to_contain_text("lora_A")
    page.get_by_label("Show names with").fill("no such tensor")
    expect(table).to_contain_text("No tensor has such a name")


def test_counts_stay_in_sight_on_a_narrow_window(page: Page, workshop: Workshop) -> None:
    ready(page, workshop)
    bar = page.locator(".count-bar")
    expect(bar).to_be_hidden()
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    for label in ("Rank r", "Seed"):
        page.get_by_label(label, exact=True).scroll_into_view_if_needed()
        expect(bar).to_be_in_viewport()
    before = bar.inner_text()
    steps.set_number(page, "Rank r", 12)
    expect(bar).not_to_have_text(before)
    assert steps.overflow(page) == []
