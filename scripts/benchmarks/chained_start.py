"""What every fit starts from: chained tracks, with atlases and light solved for them, but no registration and no learning.

`python -m scripts.benchmarks.chained_start CLIP --name NAME` makes it as a fit of the clip. Fits are measured by how far
they rise above it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from atlas.clip.clip import Clip
from atlas.fitting.presets import FitConfig, preset
from atlas.fitting.stage import FitOptions, fit_as
from atlas.system.command import CommonOptions, run_command
from atlas.system.device import Device


@dataclass(kw_only=True)
class StartOptions(CommonOptions):
    """Make the start of a clip's fits as a fit of its own."""

    clip: tyro.conf.Positional[Path]
    """Folder of a prepared clip of two frames or more."""
    name: str = "start"
    """Name of the fit."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""


def chained_start(options: StartOptions) -> str:
    """Make the start; returns its scores."""
    fit_options = FitOptions(clip=options.clip, name=options.name, device=options.device, quiet=options.quiet)
    return fit_as(Clip.open(options.clip), start_config(), fit_options)


def start_config() -> FitConfig:
    """The standard preset without registration rounds and gradient steps."""
    return replace(preset("standard", 0), preset="start", rounds=(), epochs=0)


if __name__ == "__main__":
    run_command(StartOptions, chained_start)
