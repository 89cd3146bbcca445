"""Fits side by side: what each preset reaches in which time, each fit in a process of its own, one after another."""

from __future__ import annotations

import contextlib
import math
import shlex
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from tqdm import tqdm

from atlas.bench_clip import derived_clip
from atlas.bench_report import markdown
from atlas.bench_run import START, Wanted, run_fit
from atlas.clip import Clip
from atlas.command import CommonOptions
from atlas.errors import UserError
from atlas.files import atomic_file, digest, read_json, write_json
from atlas.machine import code_of, describe_machine, load
from atlas.maps import Maps
from atlas.presets import PRESETS

VERSION = 1
QUICK_FRAMES = 12
_SECONDS, _QUICK_SECONDS = "60,120,300", "10,20"
KNOWN = (*PRESETS, "nla")


@dataclass(kw_only=True)
class BenchOptions(CommonOptions):
    """Measure fits of clips: quality against seconds, speed and memory. Run it on a machine that does nothing else.

    Each fit is a process of its own in a copy of the clip made of links; the clips' own folders stay as they are. What has
    been measured by the same code on the same machine is not measured again.
    """

    clips: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of prepared clips."""
    presets: str = ",".join(KNOWN)
    """Presets to measure, separated by commas."""
    seconds: str | None = None
    """Budgets of the fits in seconds, separated by commas; `own` lets a preset take the time it takes. Default: 60,120,300."""
    truth: Path | None = None
    """Folder truth/ of a sample clip, which must be one of the clips: its mapping is compared with it."""
    output: Path = Path("data/bench")
    """Folder for bench.json, bench.md, bench.png and the figures of each fit."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    repeat: int | None = None
    """Make clips of this many frames, by playing each forwards and backwards, to see what long clips cost."""
    quick: bool = False
    """Only see that all works: the first 12 frames, for 10 and 20 seconds."""
    skip_start: bool = False
    """Leave out the chained start, and how far above it fits come."""
    keep: bool = False
    """Keep the fits, in the output folder's clips/, to look at; all are made again then."""


@dataclass
class _Job:
    """A clip and what is to be measured on it."""

    clip: Clip
    label: str
    frames: int
    truth: Maps | None
    fits: list[Wanted]

    def key(self, wanted: Wanted, machine: dict[str, Any]) -> str:
        """Of everything that figures depend on."""
        clip, code = self.clip, code_of("chained_start")  # and with it of every fit
        parts = [clip.layers, self.frames, clip.folder / "frames", clip.folder / "masks"]
        truth = [self.truth.maps_folder] if self.truth else []
        stays = {name: value for name, value in machine.items() if name != "commit"}
        return digest(VERSION, asdict(wanted), stays, *parts, *truth, *code)


def bench(options: BenchOptions) -> str:
    """Measure what has not been measured yet, write the reports and return the one in Markdown.

    UserError for clips, presets or a truth that will not do, and where not a single fit came to its end.
    """
    jobs = _jobs(options)
    machine = describe_machine()
    at_start = load()
    results: list[dict[str, Any]] = []
    count = sum(len(job.fits) for job in jobs)
    with tqdm(total=count, desc="bench", unit="fit", disable=options.quiet) as progress:
        for job in jobs:
            rows = _measure(job, machine, options, progress)
            clip = job.clip
            start = next((row for row in rows if row["preset"] == START), None)
            described = {"name": job.label, "frames": job.frames, "width": clip.width, "height": clip.height}
            runs = [row for row in rows if row is not start]
            results.append(described | {"layers": clip.layers, "start": start, "runs": runs})
    failed = [row["error"] for result in results for row in result["runs"] if "error" in row]
    if len(failed) == sum(len(result["runs"]) for result in results):
        raise UserError(f"no fit came to its end: {failed[-1]}")
    report = {"version": VERSION, "command": shlex.join(sys.argv), "machine": machine, "load": at_start, "clips": results}
    return write_report(report, options.output)


def write_report(report: dict[str, Any], folder: Path) -> str:
    """Write bench.json, bench.md and bench.png; returns what stands in bench.md."""
    from atlas.bench_plot import plot  # its library takes long to import

    text = markdown(report)
    write_json(folder / "bench.json", report)
    with atomic_file(folder / "bench.md") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    plot(folder / "bench.png", report)
    return text


def _measure(job: _Job, machine: dict[str, Any], options: BenchOptions, progress: tqdm) -> list[dict[str, Any]]:
    """The figures of a clip's fits: those that are there, and those that are made now."""
    place = options.output / "clips" / job.label
    rows, clip = [], None
    try:
        for wanted in job.fits:
            progress.set_postfix_str(f"{job.label}, {wanted.name}")
            path = options.output / "runs" / job.label / f"{wanted.name}.json"
            key = job.key(wanted, machine)
            row = None if options.keep else _known(path, key)
            if row is None:
                if clip is None:
                    shutil.rmtree(place, ignore_errors=True)  # of a killed run
                    clip = derived_clip(job.clip, place, job.frames, quiet=options.quiet)
                row = run_fit(clip, wanted, job.truth, keep=options.keep)
                if "error" not in row:
                    write_json(path, {"key": key, "figures": row})
            rows.append(row)
            progress.update()
    finally:
        if not options.keep:
            shutil.rmtree(place, ignore_errors=True)
            with contextlib.suppress(OSError):  # other clips are kept there
                place.parent.rmdir()
    return rows


def _known(path: Path, key: str) -> dict[str, Any] | None:
    """Figures of an earlier run, if they are of the same fit."""
    try:
        known = read_json(path)
    except UserError:
        return None
    return known["figures"] if isinstance(known, dict) and known.get("key") == key else None


def _jobs(options: BenchOptions) -> list[_Job]:
    """What is to be measured; UserError where anything of it cannot be."""
    if not options.clips:
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


def _job(clip: Clip, fits: list[Wanted], options: BenchOptions) -> _Job:
    if clip.frames < 2:
        raise UserError(f"{clip.folder} has one frame: a fit needs at least two; prepare a longer clip")
    for way in ("forward", "backward"):  # before hours are spent on other clips
        clip.flow(way)
        clip.flow_validity(way)
    label = clip.folder.resolve().name
    if options.repeat is not None:
        return _Job(clip, f"{label}-{options.repeat}", options.repeat, None, fits)
    return _Job(clip, label, min(clip.frames, QUICK_FRAMES) if options.quick else clip.frames, None, fits)


def _hand_out(folder: Path, jobs: list[_Job], options: BenchOptions) -> None:
    """Give the truth to the clip that it is of."""
    if options.repeat is not None:
        raise UserError("--repeat and --truth exclude each other: the truth is of the clip as it is")
    if not (folder / "maps" / "maps.json").is_file():
        raise UserError(f"{folder} holds no true maps: give the truth/ folder of a sample clip")
    truth = Maps(folder)
    its = (truth.frames, truth.width, truth.height, truth.layers)
    of = [job for job in jobs if (job.clip.frames, job.clip.width, job.clip.height, job.clip.layers) == its]
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
