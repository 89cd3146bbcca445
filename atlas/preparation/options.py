"""The options of `prepare.py`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from atlas.errors import UserError
from atlas.masks.learned.options import NetworkOptions
from atlas.storage.bounds import FASTEST, MOST_FRAMES, SLOWEST, is_rate
from atlas.system.command import StageOptions
from atlas.video.source import SMALLEST


@dataclass(kw_only=True)
class PrepareOptions(NetworkOptions, StageOptions):
    """Make a clip from a video file (mp4, mov, webm, gif) or a folder of frames (JPEG, PNG)."""

    source: tyro.conf.Positional[Path]
    """Video file or folder of frames; transparent pixels are put over black. Or a clip alone, to give it other masks."""
    clip: tyro.conf.Positional[Path | None] = None
    """Folder of the clip to make; fits and edits in it are kept when it is made again."""
    masks: str = "auto"
    """Folder of masks, as large as the source and named as its frames (some may be missing), an object by its colour, by a
    second number in the names or by a folder; a film of masks; `auto`: what moves against the background; `box:x,y,w,h`: the
    object in this box of the first frame taken, in the source's pixels; `points:FRAME:x,y[,-x,y][;FRAME:...]`: the object at
    these points of frames of the clip (after a minus: not there), `NAME=points:...;NAME=...` several; `text:WORDS`: what a
    detector finds; `salient`: what a network (--salient FILE) and motion find; or `none`, for clips edited as whole frames."""
    flow: Path | None = None
    """Folder of optical flow computed elsewhere (.flo, .npy, 16-bit PNG as KITTI has it) at the source's size: `forward` and
    `backward` with a file for each step, or files named by two frames; without backward flow that is computed here (DIS)."""
    max_side: int = 768
    """Frames are averaged down until their longer side is at most this many pixels, and both are even; they are never
    enlarged."""
    start: int = 0
    """First frame taken, counted from 0."""
    frames: int | None = None
    """How many frames are taken; default: to the end."""
    fps: float | None = None
    """Frames per second: a video is resampled to it, by the times of its frames; a folder plays at it (default 24)."""
    cuts: Literal["refuse", "ignore"] = "refuse"
    """What is done where another shot starts inside the clip: say where and stop, or go on (the layers of both shots mix)."""

    @property
    def folder(self) -> Path:
        """Folder of the clip."""
        return self.source if self.clip is None else self.clip


def check_numbers(options: PrepareOptions) -> None:
    """UserError for numbers that no clip can have."""
    if options.max_side < SMALLEST:
        raise UserError(f"--max-side {options.max_side} is too small: choose at least {SMALLEST}")
    if options.start < 0:
        raise UserError(f"--start {options.start} is negative: frames count from 0")
    if options.frames is not None and options.frames < 2:
        raise UserError(f"--frames {options.frames} is too few: a fit needs at least two frames")
    if options.frames is not None and options.frames > MOST_FRAMES:
        raise UserError(f"--frames {options.frames} is too many: a clip holds at most {MOST_FRAMES}")
    if options.fps is not None and not is_rate(float(options.fps)):
        raise UserError(f"--fps {options.fps:g} is no frame rate: choose one between {SLOWEST:g} and {FASTEST:g}")
