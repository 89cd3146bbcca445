"""The fit: one clip into layers. Register, solve, refine (`atlas.fitting.run`); then maps, atlases and pictures."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import tyro

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.fitting.presets import FitConfig, PresetName, preset
from atlas.fitting.run import FitRun
from atlas.maps.maps import Maps
from atlas.model.nla_config import NlaConfig, baseline
from atlas.nla.run import NlaRun
from atlas.quality.finish import VERSION, Finished, write_fit
from atlas.quality.summary import told
from atlas.storage.stamps import digest, is_up_to_date
from atlas.system.command import CommonOptions
from atlas.system.cost import Pace, measured
from atlas.system.device import Device, choose_device

ENOUGH_OF_NLA = 2000

"""Gradient steps under which the weaknesses of a published model tell of nothing but too few steps."""

_OVER = 1.25

"""How far a fit may go beyond its seconds before that is told."""


@dataclass(kw_only=True)
class FitOptions(CommonOptions):
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


class Run(Finished, Protocol):
    """A fit in progress."""

    pace: Pace
    """Of its gradient steps."""

    def finish(self) -> None:
        """Do all work that is left."""

    def least(self) -> str:
        """What there is no fit without, in words, where a budget allowed nothing else; "" where this one did more."""


def fit(options: FitOptions) -> str:
    """Fit a clip, or go on with a fit that was interrupted; returns the scores, and a line for each of its weaknesses.

    Raises UserError for a clip that cannot be fitted and for a fit that turned to NaN.
    """
    clip = Clip.open(options.clip)
    if clip.frames < 2:
        raise UserError(f"{clip.folder} has one frame: a fit needs at least two; prepare a longer clip")
    return fit_as(clip, chosen_config(options, clip), options)


def fit_as(clip: Clip, config: FitConfig | NlaConfig, options: FitOptions) -> str:
    """The same by any config, be it a preset's or not; `options` give name, seconds and device."""
    device = choose_device(options.device)
    folder = clip.fit_folder(options.name)
    plan = {"version": VERSION, **config.to_dict(), "seconds": options.seconds, "device": device.type}
    made_from = digest(plan, clip.layers, clip.folder / "frames", clip.folder / "masks")
    if is_up_to_date(folder, made_from) and _is_whole(folder):
        return f"{folder} is up to date"
    began = time.perf_counter()
    with measured(clip.folder, f"fit {options.name}") as extra:
        extra.update(frames=clip.frames, width=clip.width, height=clip.height, preset=config.preset)
        run: Run
        if isinstance(config, NlaConfig):
            run = NlaRun(clip, config, folder / "resume", made_from, device, options.seconds, quiet=options.quiet)
        else:
            run = FitRun(clip, config, folder / "resume", made_from, device, options.seconds, quiet=options.quiet)
        run.finish()
        extra.update(run.pace.figures())
        metrics, found = write_fit(run, clip, folder, plan, made_from, quiet=options.quiet)
    seen = {layer: values["psnr"] for layer, values in metrics["layers"].items() if not math.isnan(values["psnr"])}
    scores = ", ".join(f"{layer} {psnr:.2f}" for layer, psnr in seen.items())
    lines = [f"{folder}: {metrics['whole']['psnr']:.2f} dB ({scores}); look at {folder / 'sheet.png'}"]
    took = time.perf_counter() - began
    if options.seconds is not None and took > _OVER * options.seconds and (least := run.least()):
        lines.append(f"it took {took:.0f} s, not {options.seconds:g}: a fit of this clip needs that for the least, {least}")
    steps = max((entry["iteration"] for entry in run.log if entry["kind"] == "train"), default=0)
    if isinstance(config, NlaConfig) and steps < ENOUGH_OF_NLA:
        lines.append(f"{steps} gradient steps are far too few for nla: give it more --seconds or --iterations")
    elif found:
        lines.append(told(found))
    return "\n".join(lines)


def _is_whole(folder: Path) -> bool:
    """Whether all that later stages read of a fit is there: what someone deleted is made again, as their errors advise."""
    try:
        maps = Maps(folder)
    except UserError:
        return False
    return all(path.is_file() for path in [folder / "checkpoint.safetensors", *map(maps.atlas_path, maps.layers)])


def chosen_config(options: FitOptions, clip: Clip) -> FitConfig | NlaConfig:
    """The preset with what the options change in it."""
    if options.seconds is not None and options.iterations is not None:
        raise UserError("--seconds and --iterations exclude each other: give one of them")
    if options.iterations is not None and options.iterations < 0:
        raise UserError(f"--iterations {options.iterations}: give 0 or more")
    if options.seconds is not None and options.seconds <= 0:
        raise UserError(f"--seconds {options.seconds}: give a positive number")
    if options.preset == "nla":
        published = baseline(clip.width, clip.height, clip.frames, options.seed)
        return published if options.iterations is None else replace(published, iters_num=options.iterations)
    config = preset(options.preset, options.seed)
    if options.iterations is not None:
        epochs = max(1, math.ceil(options.iterations / max(config.steps, 1)))
        config = replace(config, epochs=epochs, steps=math.ceil(options.iterations / epochs))
    return config
