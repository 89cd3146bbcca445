"""Options of merging an edit's keyframes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from atlas.system.command import StageOptions
from atlas.system.device import Device


@dataclass(kw_only=True)
class AggregateOptions(StageOptions):
    """Merge the edited keyframes of an edit into one atlas per layer."""

    clip: tyro.conf.Positional[Path]
    """Folder of the clip."""
    edit: str
    """Name of the edit."""
    method: Literal["network", "mean", "median"] = "network"
    """network: the mean (robust where keyframes disagree), corrected by a small network that is trained to predict each
    keyframe from the others (of more than 12, the 12 that together see most), or the mean alone where the change of colours
    explains them but for single pixels; mean, median: coverage-weighted."""
    colours: Literal["learned", "kept"] = "learned"
    """What the edit does to colours: learned from the keyframes, and then applied to each frame's own pixels, so that only what
    it does not explain goes through the atlas; or kept out of it."""
    # Their help stands beside --no-match-gain and --no-match-shift.
    match_gain: Annotated[bool, tyro.conf.arg(help_behavior_hint="(default: they are evened out)")] = True
    """Leave keyframes as bright as they are against each other. Evening them out does not change what they have in common."""
    match_shift: Annotated[bool, tyro.conf.arg(help_behavior_hint="(default: they are moved)")] = True
    """Leave keyframes where they are, also those that sit a little aside of the others (by up to 3 texels of 512)."""
    merge_steps: Annotated[int, tyro.conf.arg(name="steps")] = 160
    """At most so many training steps of the network; it stops earlier where it no longer improves."""
    seed: int = 0
    """Seed of the network's training, and of the pixels that the change of colours is learned from."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU where there is one."""
