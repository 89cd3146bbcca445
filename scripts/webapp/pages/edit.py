"""The edit tab: a prompt, a filter or images for keyframes of a layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import gradio as gr

from atlas.clip.clip import WHOLE_FRAME, Clip
from atlas.clip.edits import edit_names
from scripts.webapp.forms import form_of
from scripts.webapp.pages.form import PART, Form
from scripts.webapp.pages.site import Site, empty, fits_of, panel

EDITORS = {"Prompt": "diffusion", "Filter": "filter", "Images": "images", "Painted atlas": "atlas"}
_SHOWN = {
    "diffusion": ("prompt", "negative", "strength", "seed"),
    "filter": ("filter", "keyframes"),
    "images": ("images",),
    "atlas": ("image",),
}
"""Fields in sight for each editor, first one that is its alone; all others are folded away."""
_OF_ALL = {"editor", "name", "layer", "fit", "on", "keyframes", "seed", "keep", "device", "wait"}
_HEIGHT = "350px"


def edit_form(site: Site, name: str, notice: gr.Textbox) -> None:
    """What is asked of an edit of a clip."""
    clip = site.clip(name)
    if clip is None:
        gr.HTML(empty("Make a clip, or choose one above."))
        return
    editor = gr.Radio(
        list(EDITORS), value="Filter", label="Edit by", elem_id="edit-editor", key=(name, "editor"), interactive=True
    )

    @gr.render(inputs=[editor], **PART)
    def fields(editor: str) -> None:
        _fields(site, name, clip, EDITORS[editor], notice)


def _fields(site: Site, name: str, clip: Clip, editor: str, notice: gr.Textbox) -> None:
    """The fields of one editor."""
    fits = fits_of(clip) or ["default"]
    form = Form(site, "edit", (name, editor), fixed={"editor": editor})
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=420):
            layers = [*clip.layers, WHOLE_FRAME] if editor in ("diffusion", "filter") else clip.layers
            with gr.Row(elem_classes="choices"):
                layer = gr.Radio(layers, value=clip.layers[0], label="Layer", **form.identity("layer"))
                form.place("layer", layer)
                fit = gr.Dropdown(fits, value=fits[0], label="Fit", min_width=110, **form.identity("fit"))
                form.place("fit", fit)
            if editor == "filter":

                @gr.render(inputs=[layer, fit], **PART)
                def preview(layer: str, fit: str) -> None:
                    page = panel("/panels/filter.html", _HEIGHT, "Filter on one frame", clip=name, layer=layer, fit=fit)
                    gr.HTML(page, key=(name, layer, fit))

            form.show(*_SHOWN[editor])
        with gr.Column(scale=2, min_width=320):
            taken = edit_names(clip)
            suggested = next(text for text in _names(editor) if text not in taken)
            form.place("name", gr.Textbox(suggested, label="Name of the edit", **form.identity("name")))
            begin = gr.Button("Edit", variant="primary", size="md", elem_id="go-edit")
            form.fold("All options", without=_without(editor))
            form.starts(begin, notice, name, complete=_complete)
            merge = gr.Button("Merge keyframes into the atlas", size="md", elem_id="go-aggregate")
            merging = Form(site, "aggregate", (name, editor))
            merging.place("edit", form.components["name"])
            merging.fold("Options of merging", without=["wait", "edit"])
            merging.starts(merge, notice, name)


def _complete(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Whole frames are edited on all frames: there is nothing else for them."""
    return dict(values) | ({"on": "frames"} if values.get("layer") == WHOLE_FRAME else {})


def _names(editor: str) -> Iterator[str]:
    """Names for an edit by an editor, without end."""
    stem = {"diffusion": "prompt", "atlas": "painted"}.get(editor, editor)
    yield stem
    yield from (f"{stem}-{number}" for number in count(2))


def _without(editor: str) -> list[str]:
    """Options that another editor alone asks for, and those that the page decides."""
    groups = {one.name: one.group for one in form_of("edit")}
    mine = groups[_SHOWN[editor][0]]
    return ["editor", "wait", *(name for name, group in groups.items() if group != mine and name not in _OF_ALL)]
