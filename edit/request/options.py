"""Options of the edit command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from atlas.system.command import CommonOptions
from edit.request.prompting import DiffusionOptions


@dataclass(kw_only=True)
class LayerOptions(CommonOptions):
    """Which layer is edited, and by what."""

    clip: tyro.conf.Positional[Path]
    """Folder of the clip."""
    name: str
    """Name of the edit; one edit may hold several layers."""
    layer: str
    """Layer to edit: `foreground`, `background`, `foreground-1`, ..."""
    editor: str
    """How to edit: `diffusion` (by a prompt), `images` (keyframes edited elsewhere), `filter` (needs no model) or `atlas` (a painted atlas)."""  # noqa: E501
    fit: str = "default"
    """Fit that the edit stands on."""
    keyframes: str | None = None
    """Frame numbers such as 0,12,24, or auto:K for the K frames that together cover most of the layer. Default: auto:5; with --editor images the frames found there."""  # noqa: E501
    seed: int = 0
    """Seed of editors that draw random numbers."""
    images: Path | None = None
    """With --editor images: folder of edited frames named by frame number (12.png, frame_00012.jpg), RGB or RGBA, alpha = where the edit applies."""  # noqa: E501
    filter: str | None = None
    """With --editor filter: NAME[:key=value,...], such as recolour:color=orange,strength=0.8; `--filter help` lists all."""
    image: Path | None = None
    """With --editor atlas: a painted copy of the layer's atlas.png, or paint on transparent that goes over it. The latter may
    be of another size: square, or cropped to what is seen of the layer."""
    keep: Path | None = None
    """Mask of the layer's atlas, of its size: white keeps the original. Copied to the edit's keep/LAYER.png, where it may be repainted."""  # noqa: E501
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """With --editor diffusion: where to compute; auto takes a GPU where there is one."""


@dataclass(kw_only=True)
class EditOptions(DiffusionOptions, LayerOptions):
    """Edit keyframes of a layer, or its atlas. The same --name adds another layer to an edit."""
