"""Options of exporting a fit for compositing programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from atlas.system.command import StageOptions
from atlas.system.device import Device


@dataclass(kw_only=True)
class ExportOptions(StageOptions):
    """Write a fit's layers as STMaps, mattes and atlases for Nuke, Fusion, After Effects, Blender, ..."""

    clip: tyro.conf.Positional[Path]
    """Folder of the clip."""
    output: Path
    """Folder to write; made, or replaced where it is an earlier export to which nothing was added."""
    fit: str | None = None
    """Name of the fit. Default: that of the edit, else "default"."""
    edit: str | None = None
    """Edit whose atlases are written beside the originals."""
    size: Literal["fit", "source"] = "fit"
    """Size of the prepared frames, or the full size of the source."""
    device: Device = "auto"
    """Where maps at the source's size are evaluated."""
