"""Options of the fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from atlas.system.command import StageOptions
from atlas.system.device import Device

PresetName = Literal["preview", "standard", "best", "nla"]


@dataclass(kw_only=True)
class FitOptions(StageOptions):
    """Decompose a clip into layers: an atlas, a mapping, an opacity and a light for each."""

    clip: tyro.conf.Positional[Path]
    """Folder of a prepared clip."""
    name: str = "default"
    """Name of the fit: a clip can have several."""
    preset: PresetName = "standard"
    """preview: a quick look. standard: what edits are made on. best: a finer atlas and more of everything. nla: the
    published Layered Neural Atlases, to compare with."""
    seconds: float | None = None
    """Aim for about this many seconds in all: sets how many rounds of registration and gradient steps are made. Where the
    least of them takes longer, a line in the end says so."""
    iterations: int | None = None
    """Gradient steps in all, instead of the preset's. nla makes 200 a frame before them, to lay out its mappings."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    seed: int = 0
    """The same seed gives the same fit."""
