"""The page of the app: a clip is chosen on top, its job stands below, and between them a tab for each stage."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from scripts.webapp.pages.clip import clip_shown, source_form, source_of
from scripts.webapp.pages.compare import compare_tab
from scripts.webapp.pages.edit import edit_form, keyframes_tab
from scripts.webapp.pages.fit import fit_form, fits_shown
from scripts.webapp.pages.paint import paint_tab
from scripts.webapp.pages.render import render_tab
from scripts.webapp.pages.site import Site, empty, fitting, panel, standing

TITLE = "Layered atlas"
_NEW = "new clip"
_QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


@dataclass(frozen=True)
class _Seen:
    """What of the chosen clip's folder was seen: each part of the page is made anew when what it shows has changed."""

    version: gr.State
    """Counts whenever something may be new: pictures and films are looked for again."""
    within: gr.State
    """Counts where the version does and fits and edits are the same: for parts inside of those that are made anew with these.
    Gradio asks for such a part by a number that is gone then, which fails."""
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
        version, within, stands, fitted = gr.State(0), gr.State(0), gr.State(""), gr.State("")
        again = gr.Button("look again", visible="hidden", elem_id="again")
        with gr.Row(elem_id="top"):
            gr.HTML(f"<h1>{TITLE}</h1>", elem_id="title")

            @gr.render(inputs=[chosen, stands], show_progress="hidden")
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
                clip.input(None, clip, None, js=f"(clip) => window.atlas.choose(clip === '{_NEW}' ? '' : clip)", **_QUIET)

        _tabs(site, chosen, source, _Seen(version, within, stands, fitted), notice)

        @gr.render(inputs=[chosen], show_progress="hidden")
        def job(chosen: str) -> None:
            gr.HTML(panel("/panels/job.html", "64px", "What is at work", clip=chosen), elem_id="job", key=("job", chosen))

        look = functools.partial(_look, site)
        pages.load(_first(site), None, [chosen, source, stands, fitted], **_QUIET)
        # What ends while the last look is under way is looked at once more: by itself Gradio would drop the second click.
        seen: dict[str, Any] = {"outputs": [version, within, stands, fitted], "trigger_mode": "always_last", **_QUIET}
        again.click(look, [chosen, version, within, stands], **seen)
        chosen.change(look, [chosen, version, within, stands], **seen)
        chosen.change(lambda name, source: source_of(site, name) or source, [chosen, source], source, **_QUIET)
    return pages


def _tabs(site: Site, chosen: gr.Textbox, source: gr.Textbox, seen: _Seen, notice: gr.Textbox) -> None:
    """A tab for each stage; what is in it is made anew when another clip is chosen, or when there is something new to show."""
    version, within, stands, fitted = seen.version, seen.within, seen.stands, seen.fitted
    with gr.Tabs(elem_id="tabs"):
        with gr.Tab("Clip", id="clip"):
            with gr.Row(elem_classes="choices"):

                @gr.render(inputs=[source, stands], show_progress="hidden")
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
                    choice.input(lambda name: name, choice, source, **_QUIET)

                gr.HTML(panel("/panels/upload.html", "74px", "Upload"))

            @gr.render(inputs=[source], show_progress="hidden")
            def form(source: str) -> None:
                source_form(site, source, notice)

            _shown(clip_shown, site, chosen, version)
        with gr.Tab("Fit", id="fit"), gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                _form(fit_form, site, chosen, None, notice)
            with gr.Column(scale=5, min_width=480):
                _shown(fits_shown, site, chosen, version)
        with gr.Tab("Edit", id="edit"):
            _form(edit_form, site, chosen, fitted, notice)

            @gr.render(inputs=[chosen, stands], show_progress="hidden")
            def keyframes(chosen: str, _: str) -> None:
                keyframes_tab(site, chosen, notice, within)

        with gr.Tab("Paint", id="paint"):

            @gr.render(inputs=[chosen, fitted], show_progress="hidden")
            def paint(chosen: str, _: str) -> None:
                paint_tab(site, chosen)

        with gr.Tab("Render", id="render"):

            @gr.render(inputs=[chosen, stands], show_progress="hidden")
            def render(chosen: str, _: str) -> None:
                render_tab(site, chosen, notice)

        with gr.Tab("Compare", id="compare"):

            @gr.render(inputs=[chosen, stands], show_progress="hidden")
            def compare(chosen: str, _: str) -> None:
                compare_tab(site, chosen, notice, within)


def _form(
    build: Callable[[Site, str, gr.Textbox], None], site: Site, chosen: gr.Textbox, fitted: gr.State | None, notice: gr.Textbox
) -> None:
    @gr.render(inputs=[chosen] if fitted is None else [chosen, fitted], show_progress="hidden")
    def form(chosen: str, _: str = "") -> None:
        if not chosen:
            gr.HTML(empty("Make a clip, or choose one above."))
            return
        build(site, chosen, notice)


def _shown(build: Callable[[Site, str], None], site: Site, chosen: gr.Textbox, version: gr.State) -> None:
    @gr.render(inputs=[chosen, version], show_progress="hidden")
    def shown(chosen: str, _: int) -> None:
        build(site, chosen)


def _first(site: Site) -> Callable[[gr.Request], tuple[str, str, str, str]]:
    """What a page shows that is opened: the clip that its address names."""

    def first(request: gr.Request) -> tuple[str, str, str, str]:
        asked = str(request.query_params.get("clip") or "")
        name = asked if asked in site.clips() else ""
        return name, source_of(site, name), standing(site, name), fitting(site, name)

    return first


def _look(site: Site, name: str, version: int, within: int, stood: str) -> tuple[int, int, str, str]:
    """Look at a clip's folder again: what _Seen holds."""
    stands = standing(site, name)
    return version + 1, within + (stands == stood), stands, fitting(site, name)
