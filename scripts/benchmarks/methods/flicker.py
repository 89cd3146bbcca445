"""Flicker that is known, on an edit that is known: what each way of deflickering takes out, and what it costs.

The true edit of the sample is the re-render of its true atlases painted anew, that of a real clip a map of its colours. Each
of its frames is disturbed for itself, in ways that edits of single frames have, rounded to 8 bit, and deflickered.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.fitting.stage import FitOptions, fit
from atlas.maps.maps import Maps, open_maps
from atlas.sample.files import write_clip, write_truth
from atlas.sample.scene import make_sample
from atlas.storage.images import to_float
from atlas.storage.stack import FrameStack
from atlas.system.command import CommonOptions
from atlas.system.cost import measured, read_costs
from atlas.system.device import Device, choose_device
from atlas.system.progress import Bar
from edit.deflicker.options import DeflickerOptions
from edit.deflicker.protocol import Deflicker, Guides
from scripts.benchmarks.methods.disturbances import DISTURBANCES, disturbed
from scripts.benchmarks.methods.flicker_table import flicker_table
from scripts.benchmarks.methods.scores import Flow, clip_psnr, sharpness, warp_ratio
from scripts.benchmarks.methods.true_edit import true_edit

GIVEN = "given"
"""Stands among the ways for the disturbed frames themselves."""
_PLAIN = {"trust": "off", "gain": "off"}
WAYS: dict[str, dict[str, Any]] = {
    "flow": {"way": "flow"},
    "patches": {"way": "patches"},
    "prior": {"way": "prior"},
    "atlas": {"way": "atlas"},
    "atlas-delta": {"way": "atlas"} | _PLAIN,
    "atlas-replace": {"way": "atlas", "form": "replace"} | _PLAIN,
    "atlas-robust": {"way": "atlas", "robust": True} | _PLAIN,
    "atlas-trust": {"way": "atlas", "gain": "off"},
}
"""Ways of deflickering as options of `deflicker.py`: at its defaults, and the atlas in its single parts."""
_KEPT = 8  # frames of the source in memory


@dataclass(kw_only=True)
class BenchFlickerOptions(CommonOptions):
    """Measure deflickering on edits that are known. Without a clip the sample is built, and fitted by `--preset preview`."""

    clip: tyro.conf.Positional[Path | None] = None
    """Folder of a clip with a finished fit; its true edit is a map of its colours."""
    truth: Path | None = None
    """For a sample clip: its truth/ folder. The true edit is then that of its true atlases."""
    fit: str = "default"
    """Fit that the atlas stands on."""
    frames: int = 32
    """Frames of the sample that is built."""
    width: int = 480
    """Width of its frames."""
    height: int = 272
    """Height of its frames."""
    disturbances: str = ",".join(DISTURBANCES)
    """What is done to the true edit, separated by commas."""
    ways: str = ",".join(WAYS)
    """Ways of deflickering, separated by commas."""
    seed: int = 0
    """Of the disturbances."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    json: bool = False
    """Print JSON instead of a table."""


def bench_flicker(options: BenchFlickerOptions) -> dict[str, Any]:
    """Measure; returns frames, width, height, fit, sample (whether it is one) and `rows`: disturbance -> way -> figures.

    Figures: psnr, dB of the mean squared error over the whole clip; warp and sharpness over the true edit's own; seconds and
    peak_ram_mb of deflickering. UserError for a clip or fit that is not there, and for unknown names.
    """
    disturbances = _chosen(options.disturbances, DISTURBANCES, "disturbances")
    ways = _chosen(options.ways, WAYS, "ways")
    with tempfile.TemporaryDirectory(prefix="bench-flicker-") as folder:
        clip, truth = _opened(options, Path(folder))
        shape = (clip.frames, clip.height, clip.width, 3)
        with ExitStack() as stack:
            true, given, result = (
                stack.enter_context(FrameStack(Path(folder) / name, shape)) for name in ("true", "given", "result")
            )
            _fill(true, true_edit(clip, truth))
            bench = _Bench(clip, open_maps(clip, options.fit), true, given, result, options)
            rows = {}
            with Bar(total=len(disturbances) * len(ways), desc="flicker", unit="run", quiet=options.quiet) as bar:
                for name in disturbances:
                    _fill(given, (disturbed(frame, name, index, clip.frames, options.seed) for index, frame in enumerate(true)))
                    rows[name] = {GIVEN: bench.scores(given)} | {way: bench.row(way, bar) for way in ways}
    described = {"frames": clip.frames, "width": clip.width, "height": clip.height, "fit": options.fit}
    return described | {"sample": truth is not None, "rows": rows}


class _Bench:
    """A clip whose disturbed edit is deflickered, in stacks on the disk."""

    def __init__(
        self,
        clip: Clip,
        maps: Maps,
        true: FrameStack,
        given: FrameStack,
        result: FrameStack,
        options: BenchFlickerOptions,
    ) -> None:
        self.true, self.given, self.result = true, given, result
        self.clip, self.device = clip, choose_device(options.device)
        self.flow = Flow(clip.flow("forward"), clip.flow_validity("forward"))
        source = lru_cache(_KEPT)(lambda index: to_float(clip.frame(index)))
        self.guides = Guides(source, maps, tuple(maps.layers), steady=True)

    def row(self, way: str, bar: Bar) -> dict[str, float | None]:
        """Deflicker what is given, and measure."""
        bar.note(way)
        with tempfile.TemporaryDirectory(prefix="bench-flicker-cost-") as folder:
            with measured(Path(folder), way):
                _way(way).agree(self.given, self.guides, self.result, device=self.device)
            cost = read_costs(Path(folder))[way]
        bar.update()
        return self.scores(self.result) | {"seconds": cost["wall_seconds"], "peak_ram_mb": cost["peak_ram_mb"]}

    def scores(self, frames: FrameStack) -> dict[str, float | None]:
        """How near frames are to the true edit."""
        return {
            "psnr": clip_psnr(frames, self.true),
            "warp": warp_ratio(frames, self.true, self.flow),
            "sharpness": sharpness(frames, self.true),
        }


def _opened(options: BenchFlickerOptions, folder: Path) -> tuple[Clip, Path | None]:
    """The clip with its fit, and its truth; without a clip, the sample in `folder`."""
    if options.clip is not None:
        return Clip.open(options.clip), options.truth
    if options.truth is not None:
        raise UserError("--truth is of a sample clip: name that clip's folder as well, or leave --truth out")
    sample = make_sample(options.frames, options.height, options.width)
    clip = write_clip(sample, folder / "sample")
    write_truth(sample, folder / "truth")
    fit(FitOptions(clip=clip.folder, name=options.fit, preset="preview", device=options.device, quiet=options.quiet))
    return clip, folder / "truth"


def _way(name: str) -> Deflicker:
    """The way of deflickering that the command would make of its options."""
    return DeflickerOptions(clip=Path(), edit="", **WAYS[name]).chosen()


def _fill(stack: FrameStack, frames: Iterable[np.ndarray]) -> None:
    for index, frame in enumerate(frames):
        stack[index] = frame


def _chosen(text: str, known: dict[str, Any], option: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names or set(names) - set(known):
        raise UserError(f"--{option} {text}: choose from {', '.join(known)}, separated by commas")
    return names


def printed(options: BenchFlickerOptions) -> dict[str, Any] | str:
    """Measure; the figures as JSON has them, or tables to read."""
    figures = bench_flicker(options)
    return figures if options.json else "\n".join(flicker_table(figures))
