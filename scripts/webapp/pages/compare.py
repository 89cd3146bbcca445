"""The compare tab: several edits measured in one table, and their films side by side."""

from __future__ import annotations

import html

import gradio as gr

from scripts.webapp.pages.form import Form
from scripts.webapp.pages.site import Site, edits_of, empty, film, lines, pictures
from scripts.webapp.results import film_of


def compare_tab(site: Site, name: str, notice: gr.Textbox, version: gr.State) -> None:
    """Which edits are compared; their films; the table of the evaluate stage."""
    clip = site.clip(name)
    edits = [] if clip is None else edits_of(clip)
    if clip is None or not edits:
        gr.HTML(empty("Nothing to compare yet: edits of this clip appear here."))
        return
    names = [edit.name for edit in edits]
    with gr.Row(elem_classes="choices"):
        chosen = gr.CheckboxGroup(
            names, value=names[:4], label="Edits", elem_id="evaluate-compare", key=(name, "compare"), interactive=True
        )
        begin = gr.Button("Measure", variant="primary", size="md", elem_id="go-evaluate", scale=0, min_width=140)
    form = Form(site, "evaluate", (name,), fixed={"report": True})
    form.place("compare", chosen)
    form.starts(begin, notice, name)

    @gr.render(inputs=[chosen, version], show_progress="hidden")
    def beside(chosen: list[str], _: int) -> None:
        gr.HTML(compared_html(site, name, chosen))


def compared_html(site: Site, name: str, chosen: list[str]) -> str:
    """The films of edits side by side, and the comparison that was measured last, as HTML."""
    clip = site.clip(name)
    if clip is None:
        return ""
    films, missing = [], []
    for edit in edits_of(clip):
        if edit.name in chosen:
            if (path := film_of(edit)) is not None:
                films.append(film(site.url(path), edit.name))
            else:
                missing.append(edit.name)
    parts = [pictures(films, "films")]
    if missing:
        parts.append(lines([f"Not rendered as mp4 or webm yet: {', '.join(missing)}"]))
    page = clip.folder / "edits" / "comparison.html"
    if page.is_file():
        parts.append(
            f'<iframe class="panel" src="{html.escape(site.url(page))}" title="Comparison" style="height: 70vh"></iframe>'
        )
    return "".join(parts)
