"""What rendering an edit costs, and what it leaves alone.

The edits are made by the real stages (edit --editor filter, aggregate) in a copy of the clip made of links: the clip stays as
it is. What is timed, and what memory is measured of, are processes of their own.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from aggregate.stage import AggregateOptions, aggregate
from atlas.clip.clip import BACKGROUND, Clip
from atlas.errors import UserError
from atlas.maps.compositing import FrameMaps
from atlas.maps.maps import Maps, open_maps
from atlas.rendering.frames import open_checked_source, source_frames
from atlas.rendering.full_size import maps_at_size
from atlas.rendering.stage import RenderOptions, render
from atlas.storage.images import read_image
from atlas.storage.links import link_or_copy
from atlas.system.command import CommonOptions
from atlas.system.cost import read_costs
from atlas.system.device import choose_device
from atlas.system.machine import load
from edit.editors import EditOptions
from edit.stage import edit
from scripts.benchmarks.clips import derived_clip, derived_fit
from scripts.jobs.process import ROOT, last_line, run_process

_FILTERS = {True: "hue:shift=185", False: "recolour:color=orange"}  # of the background, of an object
_LONG = "long"


@dataclass(kw_only=True)
class BenchRenderOptions(CommonOptions):
    """Measure rendering: frames per second, seconds to the first frame, memory, and that untouched pixels stay."""

    clip: tyro.conf.Positional[Path]
    """Folder of a clip with a finished fit."""
    fit: str = "default"
    """Fit that the edits stand on."""
    frames: int = 1000
    """Length of the render whose memory is measured: the clip forwards and backwards in turns."""
    passes: int = 3
    """Processes that each speed is measured in; the fastest counts."""
    skip_source: bool = False
    """Leave out rendering at the source's size, where the fit must be evaluated first."""
    json: bool = False
    """Print JSON instead of lines to read."""


def bench_render(options: BenchRenderOptions) -> dict[str, Any]:
    """Measure; UserError for a clip or fit that is not there, numbers that are too small, and a stage that fails."""
    clip = Clip.open(options.clip)
    if options.frames < 2 or options.passes < 1:
        raise UserError("there is nothing to measure: give 2 or more --frames, 1 or more --passes")
    for layer in clip.layers:
        open_maps(clip, options.fit, layer)
    # Beside the frames, where links to them can be made.
    with tempfile.TemporaryDirectory(prefix=".bench-render-", dir=clip.folder) as folder:
        bench = _Bench(clip, Path(folder), options)
        layers = list(dict.fromkeys([clip.layers[0], BACKGROUND]))
        for layer in layers:
            bench.make_edit(layer)
        before = load()
        figures: dict[str, Any] = {"frames": clip.frames, "width": clip.width, "height": clip.height, "load": before}
        figures["layers"] = {layer: bench.pace(layer) for layer in layers}
        untouched: dict[str, Any] = {"fit": bench.untouched(layers[0], "fit")}
        if not options.skip_source:
            reason = no_source_size(clip)
            untouched["source"] = {"left_out": reason} if reason else bench.untouched(layers[0], "source")
        return figures | {"untouched": untouched, "long": bench.long_render(layers[-1])}


def no_source_size(clip: Clip) -> str | None:
    """Why rendering at the source's size is not to be measured; None where it is."""
    if (clip.source.width, clip.source.height) == (clip.width, clip.height):
        return "the source has the fit's size"
    try:
        open_checked_source(clip)
    except UserError as problem:
        return str(problem)
    return None


class _Bench:
    """A copy of a clip, and the stages run on it."""

    def __init__(self, clip: Clip, folder: Path, options: BenchRenderOptions) -> None:
        self.folder, self.options = folder, options
        self.clip = derived_clip(clip, folder / "clip", clip.frames)
        derived_fit(clip.fit_folder(options.fit), self.clip.fit_folder(options.fit), clip.frames)

    def make_edit(self, layer: str) -> None:
        """An edit of the layer, named after it: keyframes by a filter, merged."""
        clip, fit, how = self.clip.folder, self.options.fit, _FILTERS[layer == BACKGROUND]
        edit(EditOptions(clip=clip, name=layer, layer=layer, fit=fit, editor="filter", filter=how, quiet=True))
        aggregate(AggregateOptions(clip=clip, edit=layer, method="mean", quiet=True))

    def pace(self, name: str) -> dict[str, Any]:
        """Speed of rendering an edit, frames dropped: the best of several processes."""
        module = ["-m", "scripts.benchmarks.edits.pace", str(self.clip.folder), "--edit", name]
        passes = [json.loads(self._run(*module)) for _ in range(self.options.passes)]
        rates = [one["frames_per_second"] for one in passes if one["frames_per_second"] is not None]
        first = min(one["first_frame_seconds"] for one in passes)
        return {"first_frame_seconds": first, "frames_per_second": max(rates, default=None)}

    def untouched(self, layer: str, size: Literal["fit", "source"]) -> dict[str, Any]:
        """Render an edit of `layer` as PNG; how many pixels hold nothing of the layer, and how many of them were changed."""
        clip, fit = self.clip, Maps(self.clip.fit_folder(self.options.fit))
        output = self.folder / f"frames-{size}"
        render(RenderOptions(clip=clip.folder, edit=layer, format="png", size=size, output=output, quiet=True))
        maps: FrameMaps = fit
        frames: Iterable[np.ndarray] = (clip.frame(index) for index in range(clip.frames))
        if size == "source":
            source = open_checked_source(clip)
            maps = maps_at_size(clip, fit, source.height, source.width, choose_device("auto"), quiet=True)
            frames = source_frames(clip, source)
        pixels = changed = 0
        for index, frame in enumerate(frames):
            away = maps.opacity(layer, index) == 0
            pixels += int(away.sum())
            changed += int((read_image(output / f"{index:05d}.png")[away] != frame[away]).any(-1).sum())
        share = pixels / (clip.frames * maps.width * maps.height)
        return {"width": maps.width, "height": maps.height, "pixels": pixels, "share": share, "changed": changed}

    def long_render(self, name: str) -> dict[str, Any]:
        """What a long render to mp4 costs: the same edit on the clip played forwards and backwards."""
        frames, fit = self.options.frames, self.options.fit
        long = derived_clip(self.clip, self.folder / _LONG, frames, flow=False)
        derived_fit(self.clip.fit_folder(fit), long.fit_folder(fit), frames)
        for kind in ("atlas", "reference"):
            for path in sorted((self.clip.edit_folder(name) / kind).iterdir()):
                link_or_copy(path, long.edit_folder(name) / kind / path.name)
        link_or_copy(self.clip.edit_folder(name) / "edit.json", long.edit_folder(name) / "edit.json")
        self._run(str(ROOT / "scripts" / "render.py"), str(long.folder), "--edit", name, "--quiet")
        cost = read_costs(long.folder)[f"render {name}"]
        cost["encoded_frames_per_second"] = round(frames / cost["wall_seconds"], 1)
        wanted = ("wall_seconds", "cpu_seconds", "peak_ram_mb", "peak_vram_mb", "encoded_frames_per_second")
        return {"frames": frames} | {figure: cost[figure] for figure in wanted}

    def _run(self, *arguments: str) -> str:
        """What a process of Python printed; UserError with its last line where it failed."""
        log, result = self.folder / "said.txt", self.folder / "result.txt"
        if status := run_process([sys.executable, *arguments], log, result):
            raise UserError(f"rendering failed: {last_line(log) or f'it ended with status {status}'}")
        return result.read_text(encoding="utf-8")


def printed(options: BenchRenderOptions) -> dict[str, Any] | str:
    """Measure; the figures as JSON has them, or lines to read."""
    figures = bench_render(options)
    lines = [f"{figures['frames']} frames of {figures['width']}x{figures['height']}, load before {figures['load']}"]
    for layer, speed in figures["layers"].items():
        rate = "-" if speed["frames_per_second"] is None else f"{speed['frames_per_second']:.0f}"
        lines.append(f"{layer}: first frame after {speed['first_frame_seconds']:.2f} s, {rate} frames per second")
    for size, pixels in figures["untouched"].items():
        changed = f"{pixels['changed']} changed of {pixels['pixels']}" if "changed" in pixels else pixels["left_out"]
        lines.append(f"pixels without the edited layer, at the size of the {size}: {changed}")
    long = figures["long"]
    lines.append(f"{long['frames']} frames to mp4: at most {long['peak_ram_mb']:.0f} MB, {long['wall_seconds']:.0f} s")
    return figures if options.json else "\n".join(lines)
