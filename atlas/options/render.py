"""Options of rendering an edit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from atlas.system.command import StageOptions
from atlas.system.device import Device

Mode = Literal["auto", "delta", "full", "frames"]
Transfer = Literal["local", "additive"]
Light = Literal["auto", "on", "off"]


@dataclass(kw_only=True)
class RenderOptions(StageOptions):
    """Render an edit: edits/EDIT/video.mp4 (or another format) and sheet.png: source, result, and what keyframes saw."""

    clip: tyro.conf.Positional[Path]
    """Folder of the clip."""
    edit: str
    """Name of the edit."""
    mode: Mode = "auto"
    """`delta` adds what the edited atlases changed to the frames, all else stays as it is; `full` renders the layers alone;
    `frames` lays frames edited with --on frames over the source. `auto` is `frames` where a layer was edited so and has no
    edited atlas that is newer than they are, else `delta`."""
    transfer: Transfer = "local"
    """With delta, what becomes of detail that the fit does not hold: `local` changes it as the edit changed the detail round
    about, `additive` leaves it as it is."""
    light: Light = "auto"
    """With delta, whether the light that the fit found in each frame is applied to the edit: `auto` decides by the keyframes (a
    new material takes it on, a map of the colours seen has it in it already; paint takes it on), `on` always, `off` never."""
    format: str = "mp4"
    """`mp4` (H.264), `webm` (VP9), `prores` (4444, in mov), or a folder of images: `png`, `png16`. Videos have the source's
    frame rate, colour tags and sound."""
    alpha: bool = False
    """Only the edited layers, on transparent: for compositing elsewhere (not with mp4)."""
    crf: int | None = None
    """Quality of mp4 (0 to 51, default 16) and webm (0 to 63, default 20): lower is better."""
    output: Path | None = None
    """Where to write. Default: in the edit's folder, named by the format."""
    force: bool = False
    """Replace what lies at --output, even if it was not rendered from this clip."""
    size: Literal["fit", "source"] = "fit"
    """Size of the prepared frames, or the full size of the source (the fit is evaluated there once, and kept; edited frames are
    enlarged by Lanczos and cut out by the opacity of that size)."""
    device: Device = "auto"
    """Where to render."""
