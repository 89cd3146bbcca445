"""The paint tab: the painter, on the atlas of a layer."""

from __future__ import annotations

from collections.abc import Mapping

import gradio as gr

from atlas.clip.clip import Clip
from scripts.webapp.pages.form import PRIVATE
from scripts.webapp.pages.site import Site, edits_of, empty, fits_of, panel

PAINTED = "painted"
"""Name of an edit that is painted, where no other is given."""
Picked = Mapping[str, Mapping[str, str]]
"""By clip: the layer, the fit and the edit that were chosen."""
_HEIGHT = "max(420px, calc(100vh - 276px))"


def paintable(clip: Clip) -> list[str]:
    """Names of the edits in which some layer was painted, or is not edited yet, and PAINTED."""
    edits = [
        edit.name for edit in edits_of(clip) if any(layer not in edit.layers or edit.is_painted(layer) for layer in clip.layers)
    ]
    return sorted({*edits, PAINTED})


def paint_choice(site: Site, name: str, picked: Picked, keep: gr.State) -> None:
    """Which layer is painted, of which fit, as which edit. picked, keep: what was chosen, by clip, and where that is kept."""
    clip = site.clip(name)
    now = picked_painting(site, name, picked)
    if clip is None or not now:
        gr.HTML(empty("Painting is done on the atlas of a fit: make one first."))
        return
    with gr.Row(elem_classes="choices"):
        layer = gr.Radio(clip.layers, value=now["layer"], label="Layer", elem_id="paint-layer", interactive=True)
        fits = fits_of(clip)
        fit = gr.Dropdown(fits, value=now["fit"], label="Fit", elem_id="paint-fit", interactive=True, min_width=120)
        edit = gr.Dropdown(
            paintable(clip),
            value=now["edit"],
            label="Edit to go on with",
            allow_custom_value=True,
            elem_id="paint-edit",
            interactive=True,
            min_width=160,
        )

    def kept(layer: str, fit: str, edit: str, picked: Picked) -> Picked:
        return {**picked, name: {"layer": layer, "fit": fit, "edit": edit or PAINTED}}

    for one in (layer, fit, edit):
        one.input(kept, [layer, fit, edit, keep], keep, **PRIVATE)


def painter_shown(site: Site, name: str, picked: Picked) -> str:
    """The painter of what was chosen, as HTML; "" where there is no fit."""
    clip = site.clip(name)
    now = picked_painting(site, name, picked)
    if clip is None or not now:
        return ""
    return panel("/paint", _HEIGHT, "Paint on the atlas", clip=name, **now, of=clip.identity()[:16])


def picked_painting(site: Site, name: str, picked: Picked) -> dict[str, str]:
    """The layer, fit and edit that are painted: those that were chosen as far as they are there; {} where there is no fit."""
    clip = site.clip(name)
    fits = [] if clip is None else fits_of(clip)
    if clip is None or not fits:
        return {}
    now = picked.get(name, {})
    layer = now["layer"] if now.get("layer") in clip.layers else clip.layers[0]
    return {"layer": layer, "fit": now["fit"] if now.get("fit") in fits else fits[0], "edit": now.get("edit", PAINTED)}


def pinned(site: Site, name: str, picked: Picked) -> Picked:
    """What was chosen, with what is painted now: it stays so when another fit comes to stand first."""
    now = picked_painting(site, name, picked)
    return {**picked, name: now} if now else picked
