"""The render tab: an edit as a film, beside its source."""

from __future__ import annotations

import gradio as gr

from atlas.clip.edits import Edit
from scripts.webapp.pages.form import Form
from scripts.webapp.pages.site import Site, edits_of, panel

_HEIGHT = "min(64vh, 620px)"
_PLAYED = (".mp4", ".webm")


def render_tab(site: Site, name: str, notice: gr.Textbox, version: gr.State) -> None:
    """What is asked of a rendering, and its result, of one edit of a clip."""
    clip = site.clip(name)
    edits = [] if clip is None else edits_of(clip)
    if clip is None or not edits:
        gr.HTML('<div class="empty">Nothing to render yet: edit or paint first.</div>')
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
            form.starts(begin, notice, lambda values: name)
            report = gr.Button("Measure and write a report", size="md", elem_id="go-report")
            measure = Form(site, "evaluate", (name,), fixed={"report": True})
            measure.place("edit", chosen)
            measure.starts(report, notice, lambda values: name)
        with gr.Column(scale=5, min_width=480):

            @gr.render(inputs=[chosen, version], show_progress="hidden")
            def result(chosen: str, _: int) -> None:
                gr.HTML(result_html(site, name, chosen), key=(name, chosen, result_version(site, name, chosen)))


def result_html(site: Site, name: str, chosen: str) -> str:
    """The film of an edit with a slider over it and its source, and what can be taken home, as HTML."""
    clip = site.clip(name)
    if clip is None or not chosen:
        return ""
    edit = Edit.open(clip, chosen)
    films = [path for suffix in _PLAYED if (path := edit.folder / f"video{suffix}").is_file()]
    if not films:
        return '<div class="empty">Not rendered yet.</div>'
    wipe = panel(
        "/panels/wipe.html",
        _HEIGHT,
        "Source and edit",
        before=f"/api/see/source.mp4?clip={name}",
        after=site.url(films[0]),
        fps=clip.fps,
    )
    return wipe + lines_of_links(site, edit)


def lines_of_links(site: Site, edit: Edit) -> str:
    """What the edit's folder holds for download, as HTML."""
    files = [*sorted(edit.folder.glob("video.*")), edit.folder / "sheet.png", edit.folder / "report.html"]
    names = {"sheet.png": "sheet", "report.html": "report"}
    links = [
        f'<a href="{site.url(path)}" target="_blank"{"" if path.suffix == ".html" else " download"}>'
        f"{names.get(path.name, path.name)}</a>"
        for path in files
        if path.is_file()
    ]
    return f'<p class="links">Download: {" · ".join(links)}</p>' if links else ""


def result_version(site: Site, name: str, chosen: str) -> str:
    """Changes when an edit was rendered anew."""
    clip = site.clip(name)
    if clip is None or not chosen:
        return ""
    files = [path for path in clip.edit_folder(chosen).glob("*.*") if path.is_file()]
    return str(max((path.stat().st_mtime_ns for path in files), default=0))
