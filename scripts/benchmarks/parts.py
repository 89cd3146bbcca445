"""The halves of a bench beside fits: splatting, merging, rendering, edits whose right answer is known, marked points; flicker.

Each part is a script that prints JSON, in a process of its own. Code here knows their names and no more of them.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.maps.maps import open_maps
from atlas.storage.stamps import digest, read_json
from atlas.system.machine import load
from edit.deflicker.registry import WAYS
from scripts.benchmarks.clips import derived_clip, derived_fit
from scripts.benchmarks.code_state import code_of
from scripts.benchmarks.fits import keep_figures, known_figures
from scripts.jobs.process import ROOT, last_line, run_process

VERSION = 1
FIT = "default"


@dataclass(frozen=True)
class Part:
    """A script to run: on no clip, or on a clip's copy, whose folder is its first argument."""

    name: str
    script: str
    arguments: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()
    """Further arguments where it is only to be seen that all works."""
    runs: tuple[str, ...] = ()
    """Modules that it runs as processes or imports by name, beside its own code."""
    masks: bool = False
    """It needs a layer with masks."""
    truth: bool = False
    """It takes the true layers of a sample, and is left out without."""
    points: bool = False
    """It takes a file of marked points, and is left out without."""
    half: str = "edits"
    """The half of the bench that it belongs to, as --parts names it."""
    made_from: str = ""
    """Digest of what else decides its figures, such as weights."""
    leaves: Path | None = None
    """A file that it leaves beside its figures: where that is gone it is measured again."""

    def code(self) -> list[Path]:
        """Of everything that runs."""
        return code_of(f"scripts.{self.script}", *self.runs)


_SMALL = ("--width", "192", "--height", "108")
_PROCESSES = ("scripts.render", "scripts.benchmarks.edits.pace")
LOADED = tuple(str(way.where).partition(":")[0] for way in WAYS.values())  # ways of deflickering, imported by name
GENERAL = (
    Part("splat", "bench_splat", quick=(*_SMALL, "--size", "400")),
    Part("aggregate", "bench_aggregate", quick=(*_SMALL, "--frames", "8", "--seeds", "1", "--size", "300")),
    Part("shimmer", "bench_shimmer", quick=(*_SMALL, "--frames", "6")),
    Part(
        "flicker", "bench_flicker", quick=("--frames", "12", "--width", "240", "--height", "136"), runs=LOADED, half="flicker"
    ),
)
"""What is measured once, on samples that the scripts build."""
_MAPS, _ORANGE = "orange,invert,hue,paint,poster", ("--map", "orange")
OF_A_CLIP = (
    Part("oracle-learned", "oracle", ("--map", _MAPS, "--colours", "learned"), quick=_ORANGE, masks=True),
    Part("oracle-kept", "oracle", ("--map", _MAPS, "--colours", "kept"), quick=_ORANGE, masks=True),
    Part("oracle-additive", "oracle", ("--colours", "kept", "--transfer", "additive"), masks=True),
    Part("oracle-truth", "oracle", truth=True),
    Part("render", "bench_render", quick=("--frames", "40", "--passes", "1", "--skip-source"), runs=_PROCESSES),
    Part("points", "evaluate", ("--fit", FIT), points=True),
    Part("flicker-clip", "bench_flicker", runs=LOADED, half="flicker"),
)
"""What is measured on each clip, in this order."""


@dataclass(frozen=True)
class EditsJob:
    """A clip whose edits are measured."""

    clip: Clip
    label: str
    frames: int
    truth: Path | None
    """The sample's truth/ folder, for as many frames or more."""
    quick: bool
    device: str
    """Where a fit is made, if the clip has none."""
    halves: tuple[str, ...] = ("edits",)
    """What is measured: those that --parts names."""
    points: Path | None = None
    """The file of marked points, if it has some of this clip's frames."""
    methods: tuple[Part, ...] = ()
    """Parts beside those of every clip: methods that are compared."""

    @property
    def parts(self) -> list[Part]:
        """Those that the clip has what they need for."""
        asked = [part for part in (*OF_A_CLIP, *self.methods) if part.half in self.halves]
        asked = [part for part in asked if (self.clip.objects or not part.masks) and (self.truth or not part.truth)]
        return [part for part in asked if self.points or not part.points]

    @property
    def has_fit(self) -> bool:
        """Whether the clip has a finished fit to stand on."""
        try:
            open_maps(self.clip, FIT, self.clip.layers[0])
        except UserError:
            return False
        return True

    @property
    def fit_command(self) -> list[str]:
        """What makes the fit, but for the clip's folder."""
        how = ["--preset", "preview", "--seconds", "3"] if self.quick else ["--preset", "standard"]
        return ["--name", FIT, *how, "--device", self.device, "--quiet"]


def general(halves: Sequence[str]) -> list[Part]:
    """List the parts of `GENERAL` that belong to the halves."""
    return [part for part in GENERAL if part.half in halves]


def measure_general(
    machine: dict[str, Any], folder: Path, halves: Sequence[str], *, quick: bool, announce: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Rows of what `general` lists: part, clip (None), load (before it), wall_seconds, figures; error in place of the last.

    folder: where figures are kept. announce: told what comes next.
    """
    rows = []
    for part in general(halves):
        announce(part.name)
        arguments = [*part.arguments, *part.quick * quick]
        key = digest(VERSION, part.script, arguments, _stays(machine), *part.code())
        path, row = folder / f"{part.name}.json", {"part": part.name, "clip": None}
        rows.append(known_figures(path, key) or _measured(path, key, row, part, arguments))
    return rows


def measure_clip(
    job: EditsJob, machine: dict[str, Any], folder: Path, place: Path, *, announce: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Rows of `OF_A_CLIP`, as of `measure_general`; with fit, which says what they stand on.

    place: a folder of our own; the copy of the clip is made in it where something must be measured.
    """
    place = place.absolute()  # what is measured runs in another folder
    shutil.rmtree(place, ignore_errors=True)  # of a killed run
    fit = FIT if job.has_fit else f"{'preview' if job.quick else 'standard'}, made here"
    rows: list[dict[str, Any]] = []
    failed: str | None = None
    try:
        for part in job.parts:
            announce(f"{job.label}, {part.name}")
            row = {"part": part.name, "clip": job.label, "fit": fit}
            path, key = folder / job.label / f"{part.name}.json", _key(part, job, machine)
            known = known_figures(path, key)
            if known and (part.leaves is None or part.leaves.is_file()):
                rows.append(known)
                continue
            if failed is None and not place.exists():
                failed = _make_copy(job, place)
            if failed is not None:
                rows.append(row | {"error": failed})
                continue
            truth = ["--truth", str(place / "truth")] if part.truth else []
            points = ["--points", str(job.points.absolute())] if part.points and job.points else []
            arguments = [str(place / "clip"), *part.arguments, *truth, *points, *part.quick * job.quick]
            rows.append(_measured(path, key, row, part, arguments))
    finally:
        shutil.rmtree(place, ignore_errors=True)
        with contextlib.suppress(OSError):  # other clips are there
            place.parent.rmdir()
    return rows


def _make_copy(job: EditsJob, place: Path) -> str | None:
    """The clip, its fit and its truth in `place`; the reason where its fit cannot be made."""
    copy = derived_clip(job.clip, (place / "clip").absolute(), job.frames)
    if job.truth:
        derived_fit(job.truth, place / "truth", job.frames)
    if job.has_fit:
        derived_fit(job.clip.fit_folder(FIT), copy.fit_folder(FIT), job.frames)
        return None
    log = place / "said.txt"
    if run_process([sys.executable, str(ROOT / "scripts" / "fit.py"), str(copy.folder), *job.fit_command], log):
        return f"no fit to edit: {last_line(log)}"
    return None


def _measured(path: Path, key: str, row: dict[str, Any], part: Part, arguments: list[str]) -> dict[str, Any]:
    """The row of a part, measured now and kept."""
    command = [sys.executable, str(ROOT / "scripts" / f"{part.script}.py"), *arguments, "--json", "--quiet"]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        log, result = Path(folder) / "said.txt", Path(folder) / "result.json"
        row = row | {"load": load()}
        began = time.perf_counter()
        status = run_process(command, log, result)
        row["wall_seconds"] = round(time.perf_counter() - began, 2)
        if status:
            return row | {"error": last_line(log) or f"ended with status {status}"}
        row["figures"] = read_json(result, finite=False)
    keep_figures(path, key, row)
    return row


def _key(part: Part, job: EditsJob, machine: dict[str, Any]) -> str:
    """Of everything that a part's figures depend on."""
    clip = job.clip
    inputs = [clip.layers, job.frames, job.quick, clip.folder / "frames", clip.folder / "masks"]
    if job.has_fit:
        fit = clip.fit_folder(FIT)
        inputs += [fit / "maps", fit / "layers"]
    else:
        inputs += [job.fit_command, *code_of("scripts.fit")]
    if part.truth and job.truth:
        inputs += [job.truth / "maps", job.truth / "layers"]
    if part.points and job.points:
        inputs.append(job.points)
    return digest(VERSION, part.name, part.arguments, part.made_from, _stays(machine), *inputs, *part.code())


def _stays(machine: dict[str, Any]) -> dict[str, Any]:
    """The machine; what runs on it is told by the code itself."""
    return {name: value for name, value in machine.items() if name != "commit"}
