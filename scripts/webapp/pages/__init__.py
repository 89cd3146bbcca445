"""The app's pages: one tab a file, made of the stages' own forms, of panels in frames, and of what lies in the clip's folder.

A page holds no state: what it shows is read from the folder each time, and what it starts is a command (`scripts.jobs`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gradio as gr

    from scripts.webapp.work import Work


def build_pages(work: Work) -> gr.Blocks:
    """Build the pages for the clips below the root of `work`."""
    from scripts.webapp.pages.app import make_pages
    from scripts.webapp.pages.site import Site

    return make_pages(Site(work))
