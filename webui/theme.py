"""The page's look: one accent colour on quiet greys, Gradio's own fonts, light and dark."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
from gradio.themes.utils.fonts import Font, LocalFont

# One accent, whose shades are used by name below. Text on them has the contrast that WCAG AA asks
# for; the tests compute it.
ACCENT = gr.themes.Color(
    c50="#eefaf8",
    c100="#d4f1ec",
    c200="#abe2da",
    c300="#78ccc2",
    c400="#45aea4",
    c500="#2a9189",
    c600="#0f766e",
    c700="#115e59",
    c800="#134e4a",
    c900="#123f3c",
    c950="#052e2b",
)
GREY = gr.themes.Color(
    c50="#f8f8f6",
    c100="#f0f0ed",
    c200="#e2e2de",
    c300="#cbcbc6",
    c400="#9b9b96",
    c500="#6b6b67",
    c600="#50504d",
    c700="#3b3b39",
    c800="#272726",
    c900="#1a1a19",
    c950="#111110",
)
STYLES = [Path(__file__).with_name("style.css"), Path(__file__).with_name("editor") / "editor.css"]


def theme() -> gr.themes.Base:
    """Gradio's base theme in these colours."""
    # Regular and bold only: Gradio's files of the weights in between lack most letters.
    look = gr.themes.Base(
        primary_hue=ACCENT,
        secondary_hue=ACCENT,
        neutral_hue=GREY,
        radius_size=gr.themes.sizes.radius_md,
        font=(
            LocalFont("IBM Plex Sans", weights=(400, 700)),
            Font("system-ui"),
            Font("sans-serif"),
        ),
        font_mono=(
            LocalFont("IBM Plex Mono", weights=(400, 700)),
            Font("ui-monospace"),
            Font("monospace"),
        ),
    )
    return look.set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_900",
        body_text_color_dark="*neutral_100",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        background_fill_primary="white",
        background_fill_primary_dark="*neutral_900",
        background_fill_secondary="*neutral_50",
        background_fill_secondary_dark="*neutral_800",
        border_color_primary="*neutral_200",
        border_color_primary_dark="*neutral_700",
        border_color_accent="*primary_600",
        border_color_accent_dark="*primary_300",
        color_accent="*primary_600",
        color_accent_soft="*primary_50",
        color_accent_soft_dark="*primary_900",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
        link_text_color_hover="*primary_800",
        link_text_color_hover_dark="*primary_200",
        link_text_color_visited="*primary_700",
        link_text_color_visited_dark="*primary_300",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_shadow="none",
        block_label_background_fill="white",
        block_label_background_fill_dark="*neutral_900",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        block_label_text_weight="600",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_100",
        block_title_text_weight="600",
        block_title_text_size="*text_sm",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        input_background_fill="white",
        input_background_fill_dark="*neutral_800",
        input_border_color="*neutral_400",
        input_border_color_dark="*neutral_500",
        input_border_color_focus="*primary_600",
        input_border_color_focus_dark="*primary_300",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        slider_color="*primary_600",
        slider_color_dark="*primary_400",
        checkbox_background_color_selected="*primary_600",
        checkbox_border_color_selected="*primary_600",
        checkbox_label_text_color="*neutral_800",
        checkbox_label_text_color_dark="*neutral_100",
        checkbox_label_background_fill_selected="*primary_50",
        checkbox_label_background_fill_selected_dark="*primary_900",
        input_border_width="1px",
        button_border_width="1px",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_dark="*primary_300",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_hover_dark="*primary_200",
        button_primary_text_color="white",
        button_primary_text_color_dark="*primary_950",
        button_primary_border_color="transparent",
        button_primary_border_color_dark="transparent",
        button_secondary_background_fill="white",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_hover_dark="*neutral_700",
        button_secondary_text_color="*neutral_900",
        button_secondary_text_color_dark="*neutral_100",
        button_secondary_border_color="*neutral_400",
        button_secondary_border_color_dark="*neutral_500",
        error_text_color="#9f1d1d",
        error_text_color_dark="#fca5a5",
        table_even_background_fill="white",
        table_even_background_fill_dark="*neutral_900",
        table_odd_background_fill="*neutral_50",
        table_odd_background_fill_dark="*neutral_800",
    )
