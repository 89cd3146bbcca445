"""What a bench is asked to measure, checked before hours are spent on it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.evaluation.points import points_of
from atlas.fitting.presets import PRESETS
from atlas.maps.maps import Maps
from atlas.metrics.mapping import open_truth
from atlas.metrics.marked import NoPointsError
from atlas.storage.stamps import digest
from atlas.system.command import CommonOptions
from atlas.system.device import Device
from scripts.benchmarks.code_state import code_of
from scripts.benchmarks.fits import START, Wanted
from scripts.benchmarks.methods.asked import MethodsOptions
from scripts.benchmarks.methods.compared import HALF, method_parts
from scripts.benchmarks.parts import EditsJob, Part

VERSION = 1
QUICK_FRAMES = 12
_SECONDS, _QUICK_SECONDS = "60,120,300", "10,20"
KNOWN = (*PRESETS, "nla")
PARTS = ("fits", "edits", "flicker", HALF)
_USUAL = ("fits", "edits")


@dataclass(kw_only=True)
class BenchOptions(MethodsOptions, CommonOptions):
    """Measure fits of clips (quality against seconds, speed, memory), edits of them (splatting, merging, rendering, edits
    whose right answer is known), how much of a known flicker is taken out again, and methods of editing all frames. Run it on a
    machine that does nothing else.

    Each fit and each part is a process of its own in a copy of the clip made of links; the clips' own folders stay as they
    are. What has been measured by the same code on the same machine is not measured again.
    """

    clips: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of prepared clips. With --parts flicker they may be left out: the sample is measured then."""
    parts: str = ",".join(_USUAL)
    """What to measure: fits, edits, flicker, methods, separated by commas. All but fits stand on a clip's fit `default`; a
    standard one is made where there is none. Methods need --model."""
    presets: str = ",".join(KNOWN)
    """Presets to measure, separated by commas."""
    seconds: str | None = None
    """Budgets of the fits in seconds, separated by commas; `own` lets a preset take the time it takes. Default: 60,120,300."""
    truth: Path | None = None
    """Folder truth/ of a sample clip, which must be one of the clips: its mapping and an edit are compared with it."""
    points: Path | None = None
    """CSV file of points that people marked, as of `evaluate.py --points`: with the edits, fits of the clips that it has points
    of are held against them."""
    output: Path = Path("data/bench")
    """Folder for bench.json, bench.md, bench.png, the sheets of methods, and the figures of each fit and part."""
    device: Device = "auto"
    """Where fits are made; auto takes a GPU if there is one."""
    repeat: int | None = None
    """Fit clips of this many frames, made by playing each forwards and backwards, to see what long clips cost."""
    quick: bool = False
    """Only see that all works: the first 12 frames, for 10 and 20 seconds, and small edits."""
    skip_start: bool = False
    """Leave out the chained start, and how far above it fits come."""
    keep: bool = False
    """Keep the fits, in the output folder's clips/, to look at; all are made again then."""


@dataclass
class Job:
    """A clip and what is to be measured on it."""

    clip: Clip
    label: str
    frames: int
    truth: Maps | None
    fits: list[Wanted]

    def key(self, wanted: Wanted, machine: dict[str, Any]) -> str:
        """Of everything that figures depend on."""
        clip, code = self.clip, code_of("scripts.benchmarks.chained_start")  # and with it of every fit
        parts = [clip.layers, self.frames, clip.folder / "frames", clip.folder / "masks"]
        truth = [self.truth.maps_folder] if self.truth else []
        stays = {name: value for name, value in machine.items() if name != "commit"}
        return digest(VERSION, asdict(wanted), stays, *parts, *truth, *code)


def parts_of(text: str) -> list[str]:
    """The parts that are asked for; UserError where they are not understood."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or set(parts) - set(PARTS):
        raise UserError(f"--parts {text}: choose from {', '.join(PARTS)}, separated by commas")
    return parts


def edits_job(job: Job, options: BenchOptions) -> EditsJob:
    """The same clip as it is: --repeat is about fits."""
    frames = job.clip.frames if options.repeat is not None else job.frames
    label, truth = job.clip.folder.resolve().name, job.truth.folder if job.truth else None
    halves, methods = tuple(parts_of(options.parts)), tuple[Part, ...]()
    if HALF in halves:
        pictures = options.output / "runs" / "edits" / label / "pictures"
        methods = method_parts(options, job.clip, options.device, pictures, quick=options.quick)
    points = options.points if options.points and _has_points(job.clip, frames, options.points) else None
    return EditsJob(job.clip, label, frames, truth, options.quick, options.device, halves, points, methods)


def _has_points(clip: Clip, frames: int, path: Path) -> bool:
    """Whether a file has marked points of the first `frames` frames of a clip; UserError where it is damaged."""
    source = replace(clip.source, indices=clip.source.indices[:frames])
    try:
        points_of(replace(clip, frames=frames, source=source), path)
    except NoPointsError:
        return False
    return True


def fits_jobs(options: BenchOptions) -> list[Job]:
    """The fits that are to be measured; UserError where anything of it cannot be."""
    if not options.clips and parts_of(options.parts) != ["flicker"]:
        raise UserError("there is nothing to measure: name the folder of a prepared clip")
    presets = [name.strip() for name in options.presets.split(",") if name.strip()]
    if unknown := [name for name in presets if name not in KNOWN]:
        raise UserError(f"there is no preset {unknown[0]!r}: choose from {', '.join(KNOWN)}")
    budgets = _budgets(options.seconds or (_QUICK_SECONDS if options.quick else _SECONDS))
    if not presets or not budgets:
        raise UserError("there is nothing to measure: give at least one of --presets and of --seconds")
    if options.quick and options.repeat is not None:
        raise UserError("--quick and --repeat exclude each other: give one of them")
    if options.repeat is not None and options.repeat < 2:
        raise UserError(f"--repeat {options.repeat}: give 2 frames or more")
    if options.output.exists() and not options.output.is_dir():
        raise UserError(f"{options.output} is a file: name a folder for the figures")
    fits = [Wanted(START, None, options.device)] * (not options.skip_start)
    # The published fit is trained for hours: its own time is not for a table like this.
    fits += [Wanted(name, time, options.device) for name in presets for time in budgets if (name, time) != ("nla", None)]
    if not [wanted for wanted in fits if wanted.preset != START]:
        raise UserError("--preset nla trains for hours: give it --seconds")
    jobs = [_job(Clip.open(folder), fits, options) for folder in options.clips]
    labels = [job.label for job in jobs]
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise UserError(f"two clips are in folders called {twice[0]!r}: measure them one by one, with an --output of their own")
    if options.truth is not None:
        _hand_out(options.truth, jobs, options)
    return jobs


def _job(clip: Clip, fits: list[Wanted], options: BenchOptions) -> Job:
    if clip.frames < 2:
        raise UserError(f"{clip.folder} has one frame: a fit needs at least two; prepare a longer clip")
    for way in ("forward", "backward"):  # before hours are spent on other clips
        clip.flow(way)
        clip.flow_validity(way)
    label = clip.folder.resolve().name
    if options.repeat is not None:
        return Job(clip, f"{label}-{options.repeat}", options.repeat, None, fits)
    return Job(clip, label, min(clip.frames, QUICK_FRAMES) if options.quick else clip.frames, None, fits)


def _hand_out(folder: Path, jobs: list[Job], options: BenchOptions) -> None:
    """Give the truth to the clip that it is of."""
    if options.repeat is not None:
        raise UserError("--repeat and --truth exclude each other: the truth is of the clip as it is")
    truth = open_truth(folder)
    shape = (truth.frames, truth.width, truth.height, truth.layers)
    of = [job for job in jobs if (job.clip.frames, job.clip.width, job.clip.height, job.clip.layers) == shape]
    if len(of) != 1:
        which = "none of the clips is" if not of else f"{', '.join(job.label for job in of)} all are"
        size = f"{truth.frames} frames of {truth.width}x{truth.height} with layers {', '.join(truth.layers)}"
        raise UserError(f"{folder} is the truth of {size}, and {which}: give it with the clip that it is of alone")
    truth.frames = of[0].frames  # --quick looks at the first ones
    of[0].truth = truth


def _budgets(text: str) -> list[float | None]:
    budgets: list[float | None] = []
    for part in (part.strip() for part in text.split(",")):
        if part == "own":
            budgets.append(None)
        elif part:
            try:
                value = float(part)
            except ValueError:
                value = math.nan
            if not (math.isfinite(value) and value > 0):
                raise UserError(f"--seconds {part}: give positive numbers, or own, separated by commas")
            budgets.append(value)
    return list(dict.fromkeys(budgets))
