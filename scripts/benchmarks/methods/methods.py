"""Methods of editing all frames side by side: each recipe on one clip, by one prompt, edited, rendered and measured.

Each stage is a process of its own, in a copy of the clip made of links: its seconds and its memory are its own, and the clip
stays as it is. What fails is told in the row of its method.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from atlas.clip.clip import WHOLE_FRAME, Clip
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.evaluation.costs import cost_by_stage
from atlas.evaluation.edit import measure_edit
from atlas.evaluation.learned import Learned, LearnedOptions
from atlas.maps.maps import open_maps
from atlas.rendering.frames import Rendering
from atlas.system.command import CommonOptions
from atlas.system.cost import read_costs
from atlas.system.device import Device
from atlas.video.source import open_source
from scripts.benchmarks.clips import derived_clip, derived_fit
from scripts.benchmarks.methods.asked import KEYFRAMES, MethodsOptions
from scripts.benchmarks.methods.sheet import SHEET, SOURCE, columns, write_sheet, write_strip
from scripts.benchmarks.methods.tables import methods_table
from scripts.jobs.process import ROOT, last_line, run_process


@dataclass(kw_only=True)
class BenchMethodsOptions(MethodsOptions, CommonOptions):
    """Compare recipes of editing all frames: one clip, one prompt, one table, and with --pictures one contact sheet."""

    clip: tyro.conf.Positional[Path]
    """Folder of a clip with a finished fit."""
    fit: str = "default"
    """Fit that the edits stand on."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    pictures: Path | None = None
    """Folder for methods.png, and a strip of frames of each method."""
    json: bool = False
    """Print JSON instead of a table."""


def bench_methods(options: BenchMethodsOptions) -> dict[str, Any]:
    """Measure; returns clip, layer, prompt and `methods`: a row for each, as `_Bench.row` has it.

    UserError for a clip or fit that is not there, a recipe that does not exist, and where nothing came to its end.
    """
    names, clip = options.chosen(), Clip.open(options.clip)
    layer = options.layer or clip.layers[0]
    open_maps(clip, options.fit, None if layer == WHOLE_FRAME else layer)
    if layer == WHOLE_FRAME and names == [KEYFRAMES]:
        raise UserError(f"--recipes {KEYFRAMES}: keyframes are of a layer of the fit, name one with --layer")
    learned = Learned.open(LearnedOptions(device=options.device))
    # Beside the frames, where links to them can be made.
    with tempfile.TemporaryDirectory(prefix=".bench-methods-", dir=clip.folder) as folder:
        bench = _Bench(clip, layer, Path(folder), learned, options)
        rows = [bench.row(name) for name in names if not (layer == WHOLE_FRAME and name == KEYFRAMES)]
    if all("error" in row for row in rows):
        raise UserError(rows[0]["error"] if len(rows) == 1 else f"no method came to its end: {rows[-1]['error']}")
    if options.pictures is not None:
        strips = {name: options.pictures / f"{name}.png" for name in (SOURCE, *names)}
        write_sheet(options.pictures / SHEET, strips, clip.frames)
    return {"clip": clip.name, "layer": layer, "prompt": options.prompt, "methods": rows}


class _Bench:
    """A copy of a clip, and the commands run on it."""

    def __init__(self, clip: Clip, layer: str, folder: Path, learned: Learned, options: BenchMethodsOptions) -> None:
        self.layer, self.folder, self.learned, self.options = layer, folder, learned, options
        self.clip = derived_clip(clip, folder / "clip", clip.frames)
        derived_fit(clip.fit_folder(options.fit), self.clip.fit_folder(options.fit), clip.frames)

    def row(self, name: str) -> dict[str, Any]:
        """Edit and render by a recipe, and measure: method, recipe with every choice (None of keyframes), measured as in
        metrics.json, cost of each stage. Where a stage failed: method, and its last line as error."""
        if self.options.pictures is not None:
            (self.options.pictures / f"{name}.png").unlink(missing_ok=True)  # of an earlier run
        try:
            for stage, arguments in self._stages(name):
                self._run(stage, *arguments)
            measured = measure_edit(Rendering.open(self.clip.folder, name), self.learned)
            self._show(name)
        except UserError as problem:
            return {"method": name, "error": str(problem)}
        edit = Edit.open(self.clip, name)
        recipe, cost = edit.layers[self.layer].get("recipe"), cost_by_stage(read_costs(self.clip.folder), edit)
        return {"method": name, "recipe": recipe, "measured": measured, "cost": cost}

    def _stages(self, name: str) -> list[tuple[str, list[str]]]:
        """What a user would type, command by command."""
        options, clip, device = self.options, str(self.clip.folder), ["--device", self.options.device, "--quiet"]
        named = [clip, "--name", name, "--layer", self.layer, "--fit", options.fit]
        merged = [("aggregate", [clip, "--edit", name, *device])] * (name == KEYFRAMES)
        edit = ("edit", [*named, *options.edit_arguments(name), *device])
        return [edit, *merged, ("render", [clip, "--edit", name, *device])]

    def _show(self, name: str) -> None:
        """Keep a few frames of the film, and of the source, for the sheet."""
        if (folder := self.options.pictures) is not None:
            numbers = columns(self.clip.frames)
            write_strip(folder / f"{SOURCE}.png", (self.clip.frame(number) for number in numbers))
            write_strip(folder / f"{name}.png", open_source(self.clip.edit_folder(name) / "video.mp4").read(numbers))

    def _run(self, script: str, *arguments: str) -> None:
        """Run a command; UserError with its last line where it failed."""
        log = self.folder / "said.txt"
        if status := run_process([sys.executable, str(ROOT / "scripts" / f"{script}.py"), *arguments], log):
            raise UserError(last_line(log) or f"{script} ended with status {status}")


def printed(options: BenchMethodsOptions) -> dict[str, Any] | str:
    """Measure; the figures as JSON has them, or a table to read."""
    figures = bench_methods(options)
    return figures if options.json else "\n".join(methods_table(figures["methods"]))
