"""Options that every editor takes; those of its own stand beside the editor, in `edit.editors`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from atlas.system.command import StageOptions
from atlas.system.device import Device

Target = Literal["keyframes", "atlas", "frames"]
"""What of a layer is edited."""


@dataclass(kw_only=True)
class LayerOptions(StageOptions):
    """Which layer is edited, and by what."""

    clip: tyro.conf.Positional[Path]
    """Folder of the clip."""
    name: str
    """Name of the edit; one edit may hold several layers."""
    layer: str
    """Layer to edit: `foreground`, `background`, `foreground-1`, ...; with --on frames also `all`, the whole frame."""
    editor: str
    """Name of the editor."""
    fit: str = "default"
    """Fit that the edit stands on."""
    on: Target | None = None
    """What is edited: `keyframes`, the layer's `atlas` itself, or `frames`, every one of them. Default: keyframes; with --editor atlas, and by a prompt on the background, the atlas."""  # noqa: E501
    keyframes: str | None = None
    """Frame numbers such as 0,12,24, or auto:K for the K frames that together cover most of the layer. Default: auto:5; with --editor images the frames found there."""  # noqa: E501
    seed: int = 0
    """Seed of editors that draw random numbers."""
    keep: Path | None = None
    """Mask of the layer's atlas, of its size: white keeps the original. Copied to the edit's keep/LAYER.png, where it may be repainted."""  # noqa: E501
    device: Device = "auto"
    """With --editor diffusion: where to compute; auto takes a GPU where there is one."""
