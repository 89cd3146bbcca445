"""Pages of the app: what is seen, as Gradio's blocks."""

from __future__ import annotations

from typing import Any

from scripts.webapp.clips import clips_of
from scripts.webapp.work import Work


def build_pages(work: Work) -> Any:
    """The pages as one `gradio.Blocks`: the clips below the root."""
    import gradio

    with gradio.Blocks(title="Layered atlas", analytics_enabled=False) as pages:
        clips = gradio.JSON(label=str(work.root))
        pages.load(lambda: clips_of(work.root), outputs=clips)
    return pages
