"""How an edit is rendered: the render command's options without where it is written, and which mode `auto` comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from atlas.clip.clip import WHOLE_FRAME
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.options.render import Light, Mode, Transfer
from atlas.system.device import Device


@dataclass(frozen=True, kw_only=True)
class RenderSettings:
    """How an edit is rendered."""

    mode: Mode = "auto"
    """delta: add to the frames what the edit changed; full: composite the layers alone; frames: lay edited frames over the
    source; auto: as `chosen_mode` says."""
    transfer: Transfer = "local"
    """How an edited atlas carries over to the residual of the fit: multiplied by a local gain, or left as it is."""
    light: Light = "auto"
    """Whether the fit's light is applied to what an edited atlas adds."""
    size: Literal["fit", "source"] = "fit"
    """Size of the frames: as prepared, or as the source has them."""
    device: Device = "auto"
    """Where to compute."""
    deep: bool = False
    """Render 16 bits for each channel."""
    alone: bool = False
    """Render the edited layers alone, with transparency."""
    quiet: bool = True
    """Show no progress of what must be made first (maps at the source's size)."""


def chosen_mode(edit: Edit, asked: Mode) -> Literal["delta", "full", "frames"]:
    """Choose the render mode of an edit; UserError where it cannot be rendered as asked.

    auto: frames where a layer was edited on every frame and has no edited atlas that is as new as they are; else delta.
    """
    on_frames = [layer for layer in edit.layers if edit.is_on_frames(layer)]
    if asked == "auto":
        return "frames" if any(not _is_merged(edit, layer) for layer in on_frames) else "delta"
    if asked == "frames" and not on_frames:
        raise UserError(f"no layer of {edit.folder} was edited with --on frames: leave --mode frames out")
    if asked != "frames" and WHOLE_FRAME in edit.layers:
        raise UserError(f"{edit.folder} is an edit of whole frames, of which there is no atlas: render it with --mode frames")
    return asked


def check_light(mode: Mode, light: Light) -> None:
    """UserError where a choice of light has no say."""
    if mode == "full" and light != "auto":
        raise UserError(f"--light {light} is for --mode delta: layers that are rendered alone always have their light")


def _is_merged(edit: Edit, layer: str) -> bool:
    """Whether a layer's frames were merged into an edited atlas and none was repainted since."""
    atlas = edit.atlas_path(layer)
    if layer == WHOLE_FRAME or not atlas.is_file():
        return False
    return atlas.stat().st_mtime_ns >= max((path.stat().st_mtime_ns for path in edit.keyframes(layer).values()), default=0)
