"""The clip tab: a source, what in it is the object, and the prepared clip."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import gradio as gr

from scripts.webapp.pages.form import Form
from scripts.webapp.pages.site import Site, empty, lines, panel, picture

WAYS = {
    "Point it out": "",
    "What moves": "auto",
    "A folder or film of masks": "",
    "No object: whole frames": "none",
}
"""Ways to say what the object is, with what --masks is for them."""
_HEIGHT = "min(56vh, 560px)"


def source_of(site: Site, name: str) -> str:
    """The name of the source that a clip was prepared from, where it lies below the root; else ""."""
    clip = site.clip(name)
    if clip is None:
        return ""
    known = {str(site.root / source): source for source in site.sources()}
    return known.get(clip.source.path, "")


def clip_name(site: Site, source: str) -> str:
    """The name of the clip that was made of a source; where there is none, one after it: `clips/swan` of `films/swan.mp4`."""
    place = str(site.root / source)
    made = next((name for name in site.clips() if source and (clip := site.clip(name)) and clip.source.path == place), None)
    if made is not None:
        return made
    path = PurePosixPath(source)
    stem = path.parent.name if path.name in ("frames", "images") and path.parent.name else path.stem
    return f"clips/{stem}" if stem else ""


def source_form(site: Site, source: str, notice: gr.Textbox) -> None:
    """What is asked of a source: the object, and how the frames are taken."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=420):
            if source:
                gr.HTML(panel("/panels/mask.html", _HEIGHT, "Point out the object", path=source), key=("look", source))
            else:
                gr.HTML(empty("Choose or upload a film, or a folder of frames."))
        with gr.Column(scale=2, min_width=320):
            form = Form(site, "prepare", (source,), fixed={"source": source})
            name = gr.Textbox(
                clip_name(site, source),
                label="Clip",
                info="Name of its folder below the root.",
                elem_id="prepare-clip",
                key=(source, "name"),
                interactive=True,
            )
            way = gr.Radio(
                list(WAYS),
                value="Point it out",
                label="The object",
                elem_id="prepare-way",
                key=(source, "way"),
                interactive=True,
            )
            form.place(
                "masks",
                gr.Textbox(
                    "",
                    label="Masks",
                    placeholder="drawn on the left, or typed: box:x,y,w,h, points:FRAME:x,y, a folder",
                    **form.identity("masks"),
                ),
            )
            form.fold(without=["wait"])
            make = gr.Button("Make the clip", variant="primary", size="md", elem_id="go-prepare")

            def complete(values: Mapping[str, Any], chosen_way: str) -> Mapping[str, Any]:
                return dict(values) | {"masks": WAYS[chosen_way] or values.get("masks") or "auto"}

            form.starts(make, notice, name, beside=[way], complete=complete)


def clip_shown(site: Site, name: str) -> None:
    """The prepared clip: what was taken for the object."""
    clip = site.clip(name)
    if clip is None:
        return
    masks = clip.folder / "masks.png"
    about = f"{clip.frames} frames of {clip.width}x{clip.height}, {clip.fps:g} a second; layers {', '.join(clip.layers)}"
    gr.HTML(lines([f"{name}: {about}"], "lead"))
    if masks.is_file():
        gr.HTML(picture(site.url(masks), "What is taken for the object, over the clip", kind="wide"))
