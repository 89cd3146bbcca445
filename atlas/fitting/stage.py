"""The fit: one clip into layers. Register, solve, refine (`atlas.fitting.run`); then maps, atlases and pictures."""

from __future__ import annotations

import math
import time
from typing import Any

import torch

from atlas.clip.at_work import at_work, holds_clip
from atlas.clip.clip import Clip
from atlas.errors import PREPARE, UserError
from atlas.fitting.kinds import Config, kind_of_preset
from atlas.options.fit import FitOptions
from atlas.quality.finish import VERSION, is_whole_fit, write_fit
from atlas.quality.job import FitJob
from atlas.quality.summary import worst_lines
from atlas.storage.lease.lease import waited
from atlas.storage.stamps import digest, is_up_to_date
from atlas.system.command import began
from atlas.system.cost import measured
from atlas.system.device import choose_device

_METHOD = 5  # raise it when the same clip and config give another fit: those on disk are then made again
_OVER = 1.25
"""How far a fit may go beyond its seconds before that is told."""


@holds_clip
def fit(options: FitOptions) -> str:
    """Fit a clip, or go on with a fit that was interrupted; returns the scores, and a line for each of its weaknesses.

    Raises UserError for a clip that cannot be fitted and for a fit that turned to NaN.
    """
    clip = Clip.open(options.clip)
    if clip.frames < 2:
        raise UserError(f"{clip.folder} has one frame: a fit needs at least two; prepare a longer clip")
    if not clip.objects:
        raise UserError(
            f"{clip.folder} has no masks, there are no layers to part: edit whole frames (--layer all --on frames), "
            f"or run {PREPARE} again with masks"
        )
    return fit_as(clip, chosen_config(options, clip), options)


def fit_as(clip: Clip, config: Config, options: FitOptions) -> str:
    """Fit a clip by any config, be it a preset's or not; `options` give name, seconds and device."""
    device, folder = choose_device(options.device), clip.fit_folder(options.name)
    with at_work(clip.folder, reads=[folder], wait=options.wait):
        plan, made_from = _plan(clip, config, options, device)
        if is_up_to_date(folder, made_from) and is_whole_fit(folder):
            return f"{folder} is up to date"
    with at_work(clip.folder, writes=[folder], wait=options.wait):
        return _fit_anew(clip, config, options, device)


def _plan(clip: Clip, config: Config, options: FitOptions, device: torch.device) -> tuple[dict[str, Any], str]:
    """What config.json will hold, and a digest of all that decides the fit."""
    plan = {"version": VERSION, **config.to_dict(), "seconds": options.seconds, "device": device.type}
    return plan, digest(_METHOD, plan, clip.layers, clip.folder / "frames", clip.folder / "masks")


def _fit_anew(clip: Clip, config: Config, options: FitOptions, device: torch.device) -> str:
    """Fit a clip that is held for it, unless that has been done while we waited."""
    kind, folder = kind_of_preset(config.preset), clip.fit_folder(options.name)
    plan, made_from = _plan(clip, config, options, device)
    if is_up_to_date(folder, made_from) and is_whole_fit(folder):
        return f"{folder} is up to date"
    starts = min(began(options) + waited(), time.perf_counter())  # a budget is of work
    with measured(clip.folder, f"fit {options.name}") as extra:
        extra.update(frames=clip.frames, width=clip.width, height=clip.height, preset=config.preset)
        run = kind.run(FitJob(clip, folder / "resume", made_from, device, options.seconds, starts, options.quiet), config)
        run.begin()
        run.finish()
        extra.update(run.pace.figures())
        metrics, weak = write_fit(run, clip, folder, plan, made_from, quiet=options.quiet)
    seen = {layer: values["psnr"] for layer, values in metrics["layers"].items() if not math.isnan(values["psnr"])}
    scores = ", ".join(f"{layer} {psnr:.2f}" for layer, psnr in seen.items())
    lines = [f"{folder}: {metrics['whole']['psnr']:.2f} dB ({scores}); look at {folder / 'sheet.png'}"]
    took = time.perf_counter() - starts
    if options.seconds is not None and took > _OVER * options.seconds and (least := run.least()):
        lines.append(f"it took {took:.0f} s, not {options.seconds:g}: a fit of this clip needs that for the least, {least}")
    elif missing := run.left_out():
        lines.append(f"in {options.seconds:g} s there was no time for {missing}")
    steps = max((entry["iteration"] for entry in run.log if entry["kind"] == "train"), default=0)
    if steps < kind.enough_steps:
        lines.append(f"{steps} gradient steps are far too few for {config.preset}: give it more --seconds or --iterations")
    elif weak:
        lines.append(worst_lines(weak))
    return "\n".join(lines)


def chosen_config(options: FitOptions, clip: Clip) -> Config:
    """The preset with what the options change in it."""
    if options.seconds is not None and options.iterations is not None:
        raise UserError("--seconds and --iterations exclude each other: give one of them")
    if options.iterations is not None and options.iterations < 0:
        raise UserError(f"--iterations {options.iterations}: give 0 or more")
    if options.seconds is not None and options.seconds <= 0:
        raise UserError(f"--seconds {options.seconds}: give a positive number")
    return kind_of_preset(options.preset).config(options.preset, clip, options.seed, options.iterations)
