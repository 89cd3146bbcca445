"""The compare tab: several edits measured in one table, and their films side by side."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import gradio as gr

from atlas.clip.clip import Clip
from scripts.webapp.pages.form import PRIVATE, Form
from scripts.webapp.pages.site import Site, edits_of, empty, film, lines, pictures
from scripts.webapp.results import film_of

_FEW = 4


def compare_form(site: Site, name: str, picked: Mapping[str, list[str]], keep: gr.State, notice: gr.Textbox) -> None:
    """Which edits are compared, and their measuring. picked, keep: those that were chosen, by clip, and where that is kept."""
    clip = site.clip(name)
    names = [] if clip is None else [edit.name for edit in edits_of(clip)]
    if not names:
        gr.HTML(empty("Nothing to compare yet: edits of this clip appear here."))
        return
    with gr.Row(elem_classes="choices"):
        value = picked_edits(names, picked.get(name))
        choice = gr.CheckboxGroup(names, value=value, label="Edits", elem_id="evaluate-compare", interactive=True)
        begin = gr.Button("Measure", variant="primary", size="md", elem_id="go-evaluate", scale=0, min_width=140)
    choice.input(lambda edits, picked: picked | {name: edits}, [choice, keep], keep, **PRIVATE)
    form = Form(site, "evaluate", (name,), fixed={"report": True})
    form.place("compare", choice)
    form.starts(begin, notice, name)


def picked_edits(names: Sequence[str], picked: Sequence[str] | None) -> list[str]:
    """The edits that are compared: those that were chosen as far as they are there, to begin with the first few."""
    return list(names[:_FEW]) if picked is None else [name for name in names if name in picked]


def compare_shown(site: Site, name: str, picked: Mapping[str, list[str]]) -> None:
    """The films of edits side by side, and the comparison that was measured last."""
    clip = site.clip(name)
    if clip is not None:
        gr.HTML(compared_html(site, clip, picked.get(name)))


def compared_html(site: Site, clip: Clip, picked: Sequence[str] | None) -> str:
    """The same, as HTML; "" where there is no edit."""
    edits = {edit.name: edit for edit in edits_of(clip)}
    films, missing = [], []
    for name in picked_edits(list(edits), picked):
        if (path := film_of(edits[name])) is not None:
            films.append(film(site.url(path), name))
        else:
            missing.append(name)
    parts = [pictures(films, "films")]
    if missing:
        parts.append(lines([f"Not rendered as mp4 or webm yet: {', '.join(missing)}"]))
    page = clip.folder / "edits" / "comparison.html"
    if page.is_file():
        parts.append(
            f'<iframe class="panel" src="{html.escape(site.url(page))}" title="Comparison" style="height: 70vh"></iframe>'
        )
    return "".join(parts)
