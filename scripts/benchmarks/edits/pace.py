"""How fast an edit is rendered, in a process of its own: `python -m scripts.benchmarks.edits.pace CLIP --edit NAME`.

Frames are read, rendered and dropped: encoding is another matter, and depends on the format.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from atlas.rendering.frames import Rendering
from atlas.system.command import CommonOptions, run_command


@dataclass(kw_only=True)
class PaceOptions(CommonOptions):
    """Render an edit at the fit's size without writing it, and print how fast that was as JSON."""

    clip: tyro.conf.Positional[Path]
    """Folder of the clip."""
    edit: str
    """Name of the edit."""


def pace(options: PaceOptions) -> dict[str, Any]:
    """first_frame_seconds: from opening the edit, as the render stage does, to its first frame; frames_per_second after that.

    Programs are loaded by then. None for the second where the clip has one frame.
    """
    began = time.perf_counter()
    rendering = Rendering.open(options.clip, options.edit)
    rendering.made_from()  # the render stage asks whether anything has changed
    frames = rendering.frames()
    next(frames)
    first = time.perf_counter()
    following = sum(1 for _ in frames)
    rate = following / (time.perf_counter() - first) if following else None
    return {"first_frame_seconds": first - began, "frames_per_second": rate}


if __name__ == "__main__":
    run_command(PaceOptions, pace)
