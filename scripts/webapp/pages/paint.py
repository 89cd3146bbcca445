"""The paint tab: the painter, on the atlas of a layer."""

from __future__ import annotations

import gradio as gr

from atlas.clip.clip import Clip
from scripts.webapp.pages.site import Site, edits_of, empty, fits_of, panel

_HEIGHT = "max(420px, calc(100vh - 276px))"


def paintable(clip: Clip) -> list[str]:
    """Names of the edits in which some layer was painted, or is not edited yet; `painted` for a new one."""
    edits = [
        edit.name for edit in edits_of(clip) if any(layer not in edit.layers or edit.is_painted(layer) for layer in clip.layers)
    ]
    return sorted({*edits, "painted"})


def paint_tab(site: Site, name: str) -> None:
    """The painter for a clip: which layer, of which fit, as which edit."""
    clip = site.clip(name)
    fits = [] if clip is None else fits_of(clip)
    if clip is None or not fits:
        gr.HTML(empty("Painting is done on the atlas of a fit: make one first."))
        return
    with gr.Row(elem_classes="choices"):
        layer = gr.Radio(
            clip.layers,
            value=clip.layers[0],
            label="Layer",
            elem_id="paint-layer",
            key=(name, "paint", "layer"),
            interactive=True,
        )
        fit = gr.Dropdown(
            fits, value=fits[0], label="Fit", elem_id="paint-fit", key=(name, "paint", "fit"), interactive=True, min_width=120
        )
        edit = gr.Dropdown(
            paintable(clip),
            value="painted",
            label="Edit to go on with",
            allow_custom_value=True,
            elem_id="paint-edit",
            key=(name, "paint", "edit"),
            interactive=True,
            min_width=160,
        )

    @gr.render(inputs=[layer, fit, edit], show_progress="hidden")
    def painter(layer: str, fit: str, edit: str) -> None:
        page = panel("/paint", _HEIGHT, "Paint on the atlas", clip=name, fit=fit, layer=layer, edit=edit or "painted")
        gr.HTML(page, key=(name, fit, layer, edit), elem_id="painter")
