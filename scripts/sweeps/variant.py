"""Fit a clip by a preset of which something is left out: python -m scripts.sweeps.variant CLIP --rounds 2 --without rigidity"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from atlas.clip.at_work import holds_clip
from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.fitting.presets import FitConfig, LossWeights
from atlas.fitting.stage import FitOptions, chosen_config, fit_as
from atlas.system.command import run_command
from atlas.system.interrupt import end_at_once

LOSSES = tuple(field.name for field in fields(LossWeights) if field.default and field.name != "reconstruction")
"""Losses that may be left out."""


@dataclass(kw_only=True)
class VariantOptions(FitOptions):
    """Fit a clip by a preset of which something is left out."""

    rounds: int | None = None
    """Rounds of registration: the first so many of the preset's."""
    steps: int | None = None
    """Gradient steps in each epoch, instead of the preset's."""
    without: tuple[str, ...] = ()
    """Losses that weigh nothing."""


@holds_clip
def fit_variant(options: VariantOptions) -> str:
    """Fit a clip; UserError where the preset has nothing of the kind."""
    clip = Clip.open(options.clip)
    config = chosen_config(options, clip)
    if not isinstance(config, FitConfig):
        raise UserError(f"--preset {options.preset} is another kind of fit, which has no such parts: choose another preset")
    if unknown := [name for name in options.without if name not in LOSSES]:
        raise UserError(f"--without {unknown[0]}: choose from {', '.join(LOSSES)}")
    for name in ("rounds", "steps"):
        if (value := getattr(options, name)) is not None and value < 0:
            raise UserError(f"--{name} {value}: give 0 or more")
    if options.rounds is not None:
        config = replace(config, rounds=config.rounds[: options.rounds])
    if options.steps is not None:
        config = replace(config, steps=options.steps)
    return fit_as(clip, replace(config, losses=replace(config.losses, **dict.fromkeys(options.without, 0.0))), options)


if __name__ == "__main__":
    end_at_once()
    run_command(VariantOptions, fit_variant)
