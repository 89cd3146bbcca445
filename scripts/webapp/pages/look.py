"""The look of the Gradio pages: colours and type of our own pages in Gradio's terms; nothing is loaded from elsewhere."""

from __future__ import annotations

import gradio as gr

TYPE = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Liberation Sans", "Arial", "sans-serif")
HEAD = """
<link rel="stylesheet" href="/panels/pages.css">
<script type="module" src="/panels/app.js"></script>
"""
_TEAL = gr.themes.Color(
    "#eef6f6", "#d5e9e8", "#aed4d2", "#84bdbb", "#5fb0ae", "#2b6a6e", "#2b6a6e", "#245a5d", "#1d484b", "#163739", "#0d2325"
)
_GREY = gr.themes.Color(
    "#fafaf9", "#f4f4f2", "#e9e9e6", "#d6d6d1", "#9b9f9f", "#63686c", "#4a4f52", "#383c3e", "#222526", "#191b1c", "#121415"
)


def theme() -> gr.themes.Base:
    """Gradio's theme in our colours and the system's type."""
    made = gr.themes.Base(
        primary_hue=_TEAL,
        secondary_hue=_TEAL,
        neutral_hue=_GREY,
        font=TYPE,
        font_mono=("ui-monospace", "Consolas", "Liberation Mono", "monospace"),
        text_size="sm",
        spacing_size="sm",
        radius_size="md",
    )
    return made.set(
        body_background_fill="*neutral_100",
        body_background_fill_dark="*neutral_900",
        block_background_fill="white",
        block_background_fill_dark="*neutral_800",
        block_border_width="0px",
        block_info_text_size="12px",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_200",
        block_shadow="none",
        block_label_background_fill="transparent",
        input_background_fill="*neutral_50",
        input_border_width="1px",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_dark="*primary_400",
        button_primary_text_color="white",
        button_primary_text_color_dark="*neutral_950",
        button_secondary_background_fill="white",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="*neutral_700",
    )
