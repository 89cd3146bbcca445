"""The kinds of fit: which config a preset stands for, and which run carries it out. Add a new kind here.

`atlas.model.checkpoint.LOADERS` opens what each of them saves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from atlas.clip.clip import Clip
from atlas.fitting.presets import FitConfig, preset
from atlas.fitting.run import FitRun
from atlas.model.checkpoint import LAYERED, kind_of
from atlas.model.nla_config import NlaConfig, baseline
from atlas.nla.run import NlaRun
from atlas.quality.job import FitJob, Run


class Config(Protocol):
    """Everything that determines a fit beside the clip and the machine."""

    @property
    def preset(self) -> str:
        """Name of the preset that it was made of."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON holds them."""


@dataclass(frozen=True)
class Kind:
    """A kind of fit."""

    config: Callable[[str, Clip, int, int | None], Config]
    """(preset, clip, seed, gradient steps or None for the preset's) -> config."""
    run: Callable[[FitJob, Any], Run]
    """(job, config) -> the run; it has not begun."""
    enough_steps: int = 0
    """Gradient steps under which the weaknesses of a fit tell of nothing but too few steps."""


def kind_of_preset(name: str) -> Kind:
    """The kind of fit that a preset starts."""
    return KINDS[kind_of(name)]


def _layered_config(name: str, clip: Clip, seed: int, iterations: int | None) -> FitConfig:
    config = preset(name, seed)
    if iterations is None:
        return config
    epochs = max(1, math.ceil(iterations / max(config.steps, 1)))
    return replace(config, epochs=epochs, steps=math.ceil(iterations / epochs))


def _nla_config(name: str, clip: Clip, seed: int, iterations: int | None) -> NlaConfig:
    published = baseline(clip.width, clip.height, clip.frames, seed)
    return published if iterations is None else replace(published, iters_num=iterations)


KINDS: dict[str, Kind] = {
    LAYERED: Kind(_layered_config, FitRun),
    "nla": Kind(_nla_config, NlaRun, enough_steps=2000),
}
