"""The page of the app: a clip is chosen on top, its job stands below, and between them a tab for each stage."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from scripts.webapp.pages.clip import clip_shown, source_form, source_of
from scripts.webapp.pages.compare import compare_form, compare_shown
from scripts.webapp.pages.edit import edit_form
from scripts.webapp.pages.fit import fit_form, fits_shown
from scripts.webapp.pages.form import PART, PRIVATE
from scripts.webapp.pages.keyframes import keyframes_choice, keyframes_shown, repainter_shown
from scripts.webapp.pages.paint import paint_choice, painter_shown, pinned
from scripts.webapp.pages.render import render_form, render_shown
from scripts.webapp.pages.site import Site, fitting, panel, standing

TITLE = "Layered atlas"
_NEW = "new clip"


@dataclass(frozen=True)
class _Seen:
    """What of the chosen clip's folder was seen: each part of the page is made anew when what it shows has changed."""

    version: gr.State
    """Counts whenever something may be new: pictures and films are looked for again."""
    stands: gr.State
    """Which fits and edits there are."""
    fitted: gr.State
    """Which fits there are: what is being painted or typed for a fit stays as edits come and go."""


def make_pages(site: Site) -> gr.Blocks:
    """Build the page."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as pages:
        chosen = gr.Textbox("", visible="hidden", elem_id="chosen")
        source = gr.Textbox("", visible="hidden", elem_id="source")
        notice = gr.Textbox("", visible="hidden", elem_id="notice")
        seen = _Seen(gr.State(0), gr.State(""), gr.State(""))
        again = gr.Button("look again", visible="hidden", elem_id="again")
        with gr.Row(elem_id="top"):
            gr.HTML(f"<h1>{TITLE}</h1>", elem_id="title")

            @gr.render(inputs=[chosen, seen.stands], **PART)
            def clips(chosen: str, _: str) -> None:
                choices = [_NEW, *dict.fromkeys([*site.clips(), *([chosen] if chosen else [])])]
                clip = gr.Dropdown(
                    choices,
                    value=chosen or _NEW,
                    show_label=False,
                    container=False,
                    elem_id="clips",
                    key=("clips", chosen, *choices),
                    interactive=True,
                )
                clip.input(None, clip, None, js=f"(clip) => window.atlas.choose(clip === '{_NEW}' ? '' : clip)", **PRIVATE)

        _tabs(site, pages, chosen, source, seen, notice)

        @gr.render(inputs=[chosen], **PART)
        def job(chosen: str) -> None:
            gr.HTML(panel("/panels/job.html", "64px", "What is at work", clip=chosen), elem_id="job", key=("job", chosen))

        look = functools.partial(_look, site)
        pages.load(_first(site), None, [chosen, source, seen.stands, seen.fitted], **PRIVATE)
        # What ends while the last look is under way is looked at once more: by itself Gradio would drop the second click.
        new: dict[str, Any] = {"outputs": [seen.version, seen.stands, seen.fitted], "trigger_mode": "always_last", **PRIVATE}
        again.click(look, [chosen, seen.version], **new)
        chosen.change(look, [chosen, seen.version], **new)
        chosen.change(lambda name, source: source_of(site, name) or source, [chosen, source], source, **PRIVATE)
    return pages


def _tabs(site: Site, pages: gr.Blocks, chosen: gr.Textbox, source: gr.Textbox, seen: _Seen, notice: gr.Textbox) -> None:
    """A tab for each stage; what is in it is made anew when another clip is chosen, or when there is something new to show.

    No part that is made anew for such a reason stands within another one: Gradio would ask for it while that is made anew,
    which fails. What is chosen in one part and shown in another is kept beside them, by clip, and outlasts both. Painters stand
    in no part: they hold strokes that are not saved yet.
    """
    edited, painted, rendered, compared = gr.State({}), gr.State({}), gr.State({}), gr.State({})

    def part(build: Callable[..., None], *changing: gr.State, kept: gr.State | None = None) -> None:
        """A part that is made anew for another clip, and when one of these changes. kept: what it is told besides."""
        triggers = [pages.load, chosen.change, *(one.change for one in changing)]
        inputs = [chosen] if kept is None else [chosen, kept]
        gr.render(inputs=inputs, triggers=triggers, **PART)(functools.partial(build, site))

    def painter(build: Callable[..., str], name: str, kept: gr.State, *changing: gr.State) -> None:
        """A painter, which is there as long as the same thing is painted."""
        page = gr.HTML("", elem_id=name)
        triggers = [pages.load, chosen.change, kept.change, *(one.change for one in changing)]
        gr.on(triggers, functools.partial(build, site), [chosen, kept], page, **PRIVATE)

    with gr.Tabs(elem_id="tabs"):
        with gr.Tab("Clip", id="clip"):
            with gr.Row(elem_classes="choices"):

                @gr.render(inputs=[source, seen.stands], **PART)
                def sources(chosen_source: str, _: str) -> None:
                    known = site.sources()
                    choice = gr.Dropdown(
                        [("choose a source", ""), *((name, name) for name in known)],
                        value=chosen_source if chosen_source in known else "",
                        label="Source",
                        info="Films, and folders of frames, below the root.",
                        elem_id="sources",
                        key=("sources", chosen_source, *known),
                        interactive=True,
                    )
                    choice.input(lambda name: name, choice, source, **PRIVATE)

                gr.HTML(panel("/panels/upload.html", "74px", "Upload"))

            @gr.render(inputs=[source], **PART)
            def form(source: str) -> None:
                source_form(site, source, notice)

            part(clip_shown, seen.version)
        with gr.Tab("Fit", id="fit"), gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                part(functools.partial(fit_form, notice=notice))
            with gr.Column(scale=5, min_width=480):
                part(fits_shown, seen.version)
        with gr.Tab("Edit", id="edit"):
            part(functools.partial(edit_form, notice=notice), seen.fitted)
            part(functools.partial(keyframes_choice, keep=edited), seen.stands, kept=edited)
            part(functools.partial(keyframes_shown, keep=edited, notice=notice), seen.version, edited, kept=edited)
            painter(repainter_shown, "repainter", edited, seen.version)
        with gr.Tab("Paint", id="paint"):
            part(functools.partial(paint_choice, keep=painted), seen.fitted, kept=painted)
            painter(painter_shown, "painter", painted, seen.fitted)
            seen.fitted.change(functools.partial(pinned, site), [chosen, painted], painted, **PRIVATE)
        with gr.Tab("Render", id="render"), gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                part(functools.partial(render_form, keep=rendered, notice=notice), seen.stands, kept=rendered)
            with gr.Column(scale=5, min_width=480):
                part(render_shown, seen.stands, rendered, kept=rendered)
        with gr.Tab("Compare", id="compare"):
            part(functools.partial(compare_form, keep=compared, notice=notice), seen.stands, kept=compared)
            part(compare_shown, seen.version, compared, kept=compared)


def _first(site: Site) -> Callable[[gr.Request], tuple[str, str, str, str]]:
    """What a page shows that is opened: the clip that its address names."""

    def first(request: gr.Request) -> tuple[str, str, str, str]:
        asked = str(request.query_params.get("clip") or "")
        name = asked if asked in site.clips() else ""
        return name, source_of(site, name), standing(site, name), fitting(site, name)

    return first


def _look(site: Site, name: str, version: int) -> tuple[int, str, str]:
    """Look at a clip's folder again: what _Seen holds."""
    return version + 1, standing(site, name), fitting(site, name)
