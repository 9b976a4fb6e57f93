"""The look of the page: a calm theme of its own, light and dark, with system fonts only."""

from pathlib import Path

import gradio as gr
from gradio.themes.utils.colors import Color

PAGE_CSS = Path(__file__).with_name("page.css")
PAGE_JS = Path(__file__).with_name("page.js")

PINE = Color(
    name="pine",
    c50="#eef6f4",
    c100="#d9ebe7",
    c200="#b5d8d1",
    c300="#86beb5",
    c400="#4f9f95",
    c500="#2b8076",
    c600="#1d675f",
    c700="#17544e",
    c800="#13433e",
    c900="#103733",
    c950="#08201e",
)
STONE = Color(
    name="stone",
    c50="#faf9f7",
    c100="#f3f2ee",
    c200="#e4e2dc",
    c300="#cfccc4",
    c400="#9d9a92",
    c500="#6f6d67",
    c600="#55544f",
    c700="#3a3d40",
    c800="#23272a",
    c900="#1a1d20",
    c950="#121517",
)
SANS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def make_theme() -> gr.themes.Base:
    """The theme; the rest of the look is in page.css, built on the same variables."""
    theme = gr.themes.Base(
        primary_hue=PINE,
        secondary_hue=PINE,
        neutral_hue=STONE,
        radius_size=gr.themes.sizes.radius_md,
        font=list(SANS),
        font_mono=list(MONO),
    )
    return theme.set(**_surfaces(), **_controls(), **_buttons())


def _surfaces() -> dict[str, str]:
    return {
        "body_background_fill": "*neutral_100",
        "body_background_fill_dark": "*neutral_950",
        "body_text_color": "#1f2326",
        "body_text_color_dark": "#e8eaea",
        "body_text_color_subdued": "#5a5f63",
        "body_text_color_subdued_dark": "#a4abb0",
        "background_fill_primary": "white",
        "background_fill_primary_dark": "*neutral_900",
        "background_fill_secondary": "*neutral_50",
        "background_fill_secondary_dark": "*neutral_800",
        "border_color_primary": "*neutral_200",
        "border_color_primary_dark": "*neutral_700",
        "block_background_fill": "transparent",
        "block_background_fill_dark": "transparent",
        "block_border_width": "0px",
        "block_border_width_dark": "0px",
        "block_padding": "0px",
        "block_shadow": "none",
        "block_shadow_dark": "none",
        "block_title_text_color": "*body_text_color",
        "block_title_text_color_dark": "*body_text_color",
        "block_title_text_weight": "600",
        "block_label_background_fill": "transparent",
        "block_label_background_fill_dark": "transparent",
        "block_info_text_color": "*body_text_color_subdued",
        "block_info_text_color_dark": "*body_text_color_subdued",
        "block_info_text_size": "13px",
        "panel_border_width": "0px",
        "panel_border_width_dark": "0px",
        "form_gap_width": "16px",
        "layout_gap": "16px",
        "error_background_fill": "#fdf0ee",
        "error_background_fill_dark": "#35201e",
        "error_border_color": "#e3b3ad",
        "error_border_color_dark": "#7a3f39",
        "error_text_color": "#96291c",
        "error_text_color_dark": "#f3a79d",
    }


def _controls() -> dict[str, str]:
    return {
        "input_background_fill": "white",
        "input_background_fill_dark": "*neutral_950",
        "input_border_width": "1px",
        "input_border_width_dark": "1px",
        "input_border_color": "#8f8c85",
        "input_border_color_dark": "#6b7278",
        "input_border_color_focus": "*primary_600",
        "input_border_color_focus_dark": "*primary_300",
        "input_shadow_focus": "0 0 0 3px rgba(43, 128, 118, 0.22)",
        "input_shadow_focus_dark": "0 0 0 3px rgba(134, 190, 181, 0.28)",
        "input_placeholder_color": "#6f6d67",
        "input_placeholder_color_dark": "#8f979c",
        "input_radius": "8px",
        "input_padding": "8px 10px",
        "slider_color": "*primary_600",
        "slider_color_dark": "*primary_300",
        "checkbox_background_color_selected": "*primary_600",
        "checkbox_background_color_selected_dark": "*primary_500",
        "checkbox_border_color": "#8f8c85",
        "checkbox_border_color_dark": "#6b7278",
        "checkbox_label_background_fill": "white",
        "checkbox_label_background_fill_dark": "*neutral_900",
        "checkbox_label_background_fill_hover": "*primary_50",
        "checkbox_label_background_fill_hover_dark": "*neutral_800",
        "checkbox_label_background_fill_selected": "*primary_50",
        "checkbox_label_background_fill_selected_dark": "*primary_900",
        "checkbox_label_border_color": "*neutral_300",
        "checkbox_label_border_color_dark": "*neutral_700",
        "checkbox_label_border_color_selected": "*primary_600",
        "checkbox_label_border_color_selected_dark": "*primary_400",
        "checkbox_label_border_width": "1px",
        "checkbox_label_text_color_selected": "*body_text_color",
        "checkbox_label_padding": "8px 12px",
        "loader_color": "*primary_600",
        "loader_color_dark": "*primary_300",
        "color_accent": "*primary_600",
        "link_text_color": "*primary_700",
        "link_text_color_dark": "*primary_300",
    }


def _buttons() -> dict[str, str]:
    return {
        "button_transform_hover": "none",
        "button_transform_active": "none",
        "button_large_radius": "8px",
        "button_small_radius": "8px",
        "button_large_padding": "10px 18px",
        "button_large_text_size": "15px",
        "button_large_text_weight": "600",
        "button_small_text_size": "14px",
        "button_small_padding": "6px 14px",
        "button_small_text_weight": "500",
        "button_primary_background_fill": "*primary_600",
        "button_primary_background_fill_dark": "*primary_400",
        "button_primary_background_fill_hover": "*primary_700",
        "button_primary_background_fill_hover_dark": "*primary_300",
        "button_primary_text_color": "white",
        "button_primary_text_color_dark": "*primary_950",
        "button_primary_text_color_hover_dark": "*primary_950",
        "button_primary_border_color": "*primary_600",
        "button_secondary_background_fill": "white",
        "button_secondary_background_fill_dark": "*neutral_800",
        "button_secondary_background_fill_hover": "*primary_50",
        "button_secondary_background_fill_hover_dark": "*neutral_700",
        "button_secondary_border_color": "*neutral_300",
        "button_secondary_border_color_dark": "*neutral_700",
        "button_secondary_text_color": "*body_text_color",
        "button_secondary_text_color_dark": "*body_text_color",
        "button_border_width": "1px",
        "button_cancel_background_fill": "#a5301f",
        "button_cancel_background_fill_dark": "#f0968a",
        "button_cancel_background_fill_hover": "#86261a",
        "button_cancel_background_fill_hover_dark": "#f3a79d",
        "button_cancel_border_color": "#a5301f",
        "button_cancel_border_color_dark": "#f0968a",
        "button_cancel_text_color": "white",
        "button_cancel_text_color_dark": "#2a100c",
    }
