"""The render tab: an edit as a film, beside its source."""

from __future__ import annotations

import gradio as gr

from scripts.webapp.pages.form import Form
from scripts.webapp.pages.site import Site, edits_of, empty, panel

_HEIGHT = "min(70vh, 680px)"


def render_tab(site: Site, name: str, notice: gr.Textbox) -> None:
    """What is asked of a rendering, and its result, of one edit of a clip."""
    clip = site.clip(name)
    edits = [] if clip is None else edits_of(clip)
    if clip is None or not edits:
        gr.HTML(empty("Nothing to render yet: edit or paint first."))
        return
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            form = Form(site, "render", (name,))
            newest = max(edits, key=lambda edit: (edit.folder / "edit.json").stat().st_mtime)
            names = [edit.name for edit in edits]
            chosen = gr.Dropdown(names, value=newest.name, label="Edit", **form.identity("edit"))
            form.place("edit", chosen)
            form.show("format", "size")
            form.fold(without=["wait"])
            begin = gr.Button("Render", variant="primary", size="md", elem_id="go-render")
            form.starts(begin, notice, name)
            report = gr.Button("Measure and write a report", size="md", elem_id="go-report")
            measure = Form(site, "evaluate", (name,), fixed={"report": True})
            measure.place("edit", chosen)
            measure.starts(report, notice, name)
        with gr.Column(scale=5, min_width=480):
            # A page of its own looks for the film: this part is made anew whenever edits come or go.
            @gr.render(inputs=[chosen], show_progress="hidden")
            def result(chosen: str) -> None:
                gr.HTML(panel("/panels/wipe.html", _HEIGHT, "Source and edit", clip=name, edit=chosen), key=(name, chosen))
