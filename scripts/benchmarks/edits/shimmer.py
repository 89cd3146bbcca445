"""Whether a fine pattern on an atlas flickers as things move: the warp error of a rendered checkerboard.

Checkerboards are painted on the background of the sample and rendered through its true maps. Their warp error along the
sample's flow is compared with that of the true re-render, which looks the pattern up without smoothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from atlas.clip.clip import BACKGROUND, Clip
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.metrics.definitions import average, warp_error
from atlas.rendering.frames import Rendering
from atlas.sample.files import write_clip, write_truth_fit
from atlas.sample.scene import make_sample
from atlas.storage.images import to_uint8, to_uint16, write_image
from atlas.system.command import CommonOptions

_FIT = "truth"


@dataclass(kw_only=True)
class BenchShimmerOptions(CommonOptions):
    """Measure shimmer on the sample, whose true re-render is known."""

    frames: int = 32
    """Frames of the sample."""
    width: int = 480
    """Width of the frames."""
    height: int = 272
    """Height of the frames."""
    squares: str = "1,2,6"
    """Sides of the checkerboards' squares in texels, separated by commas."""
    json: bool = False
    """Print JSON instead of lines to read."""


def bench_shimmer(options: BenchShimmerOptions) -> dict[str, Any]:
    """For each square the warp error of the result, of the true re-render, and their ratio; and the worst ratio."""
    squares = _squares(options.squares)
    sample = make_sample(frames=options.frames, height=options.height, width=options.width)
    size = sample.atlases[BACKGROUND].shape[0]
    ratios = []
    with tempfile.TemporaryDirectory(prefix="bench-shimmer-") as folder:
        clip = write_clip(sample, Path(folder) / "sample")
        write_truth_fit(sample, clip, _FIT)
        for square in squares:
            painted = checkerboard(size, square)
            edit = Edit(clip.edit_folder(f"board-{square}"), f"board-{square}", _FIT, {BACKGROUND: {"editor": "atlas"}})
            edit.save()
            write_image(edit.atlas_path(BACKGROUND), to_uint16(painted))
            result = (rendered for _, rendered in Rendering.open(clip.folder, edit.name).frames())
            error = _warp_error(clip, result)
            true = _warp_error(clip, to_uint8(sample.render({BACKGROUND: painted})))
            ratios.append({"square": square, "warp_error": error, "true_warp_error": true, "ratio": error / true})
    size_of = {"frames": options.frames, "width": options.width, "height": options.height}
    return size_of | {"squares": ratios, "worst_ratio": max(one["ratio"] for one in ratios)}


def checkerboard(size: int, square: int) -> np.ndarray:  # (N, N, 4) float32
    """Dark and light squares of `square` texels."""
    board = (np.indices((size, size)) // square).sum(0) % 2
    return np.dstack([np.repeat((0.2 + 0.5 * board)[..., None], 3, 2), np.ones(board.shape)]).astype(np.float32)


def _warp_error(clip: Clip, frames: Iterable[np.ndarray]) -> float:
    flow, valid = clip.flow("forward"), clip.flow_validity("forward")
    return average(warp_error(a, b, flow[i], valid[i]) for i, (a, b) in enumerate(pairwise(frames)))


def _squares(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UserError(f"--squares {text}: give whole numbers of texels, separated by commas")
    return [int(part) for part in parts]


def printed(options: BenchShimmerOptions) -> dict[str, Any] | str:
    """Measure; the figures as JSON has them, or lines to read."""
    figures = bench_shimmer(options)
    lines = [f"warp error of a checkerboard over that of its true re-render ({options.frames} frames)"]
    lines += [f"squares of {one['square']}: {one['ratio']:.2f}" for one in figures["squares"]]
    return figures if options.json else "\n".join(lines)
