"""The render tab: an edit as a film, beside its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import gradio as gr

from atlas.clip.edits import Edit
from scripts.webapp.pages.form import PRIVATE, Form
from scripts.webapp.pages.site import Site, edits_of, empty, panel

_HEIGHT = "min(70vh, 680px)"


def render_form(site: Site, name: str, picked: Mapping[str, str], keep: gr.State, notice: gr.Textbox) -> None:
    """What is asked of a rendering. picked, keep: the edit that was chosen, by clip, and where that is kept."""
    edits = _edits(site, name)
    if not edits:
        gr.HTML(empty("Nothing to render yet: edit or paint first."))
        return
    form = Form(site, "render", (name,))
    names, shown = [edit.name for edit in edits], picked_edit(edits, picked.get(name))
    choice = gr.Dropdown(names, value=shown, label="Edit", elem_id="render-edit", interactive=True)
    choice.input(lambda edit, picked: picked | {name: edit}, [choice, keep], keep, **PRIVATE)
    form.place("edit", choice)
    form.show("format", "size")
    form.fold(without=["wait"])
    begin = gr.Button("Render", variant="primary", size="md", elem_id="go-render")
    form.starts(begin, notice, name)
    report = gr.Button("Measure and write a report", size="md", elem_id="go-report")
    measure = Form(site, "evaluate", (name,), fixed={"report": True})
    measure.place("edit", choice)
    measure.starts(report, notice, name)


def render_shown(site: Site, name: str, picked: Mapping[str, str]) -> None:
    """The film of an edit beside its source, in a page of its own that looks for the film."""
    if edits := _edits(site, name):
        shown = picked_edit(edits, picked.get(name))
        gr.HTML(panel("/panels/wipe.html", _HEIGHT, "Source and edit", clip=name, edit=shown), key=(name, shown))


def picked_edit(edits: Sequence[Edit], picked: str | None) -> str:
    """The edit that is shown: the one that was chosen as long as it is there, else the newest."""
    newest = max(edits, key=lambda edit: (edit.folder / "edit.json").stat().st_mtime)
    return next((edit.name for edit in edits if edit.name == picked), newest.name)


def _edits(site: Site, name: str) -> list[Edit]:
    clip = site.clip(name)
    return [] if clip is None else edits_of(clip)
