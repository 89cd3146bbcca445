"""One keyframe splatted into an atlas, against SciPy's griddata for each channel.

Both get the same pixels of the sample's background (a frame of 768x432 by default) and fill the same 2000x2000 texels; the
true atlas is known. Wall seconds, the fastest of several in turns; griddata uses one core.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from atlas.clip.clip import BACKGROUND
from atlas.errors import UserError
from atlas.geometry.rasterise import inverse_map
from atlas.geometry.warp import sample
from atlas.maps.partial import partial_atlas
from atlas.metrics.definitions import psnr
from atlas.sample.scene import make_sample
from atlas.system.command import CommonOptions


@dataclass(kw_only=True)
class BenchSplatOptions(CommonOptions):
    """Measure splatting on the sample, whose true atlas is known."""

    width: int = 768
    """Width of the frame."""
    height: int = 432
    """Height of the frame."""
    size: int = 2000
    """Texels per side of the atlas."""
    json: bool = False
    """Print JSON instead of lines to read."""


def bench_splat(options: BenchSplatOptions) -> dict[str, Any]:
    """Seconds and PSNR against the true atlas, for three channels; UserError where scipy is missing."""
    try:
        from scipy.interpolate import griddata
    except ImportError:
        raise UserError("the comparison needs scipy: pip install scipy") from None
    clip = make_sample(frames=2, height=options.height, width=options.width)
    truth = clip.atlases[BACKGROUND][..., :3]
    uv = clip.uvs[BACKGROUND][1]
    values = sample(torch.from_numpy(np.ascontiguousarray(truth)), torch.from_numpy(uv))
    size = (options.size, options.size)
    truth = cv2.resize(truth, size, interpolation=cv2.INTER_AREA if options.size < len(truth) else cv2.INTER_LINEAR)
    opaque, where = torch.ones(uv.shape[:2]), torch.from_numpy(uv)

    def looked_up() -> tuple[np.ndarray, np.ndarray]:
        inverse = inverse_map(where, opaque, size)
        return inverse.put(inverse.look_up(values), size).numpy(), inverse.texel.numpy()

    def published() -> np.ndarray:
        side = (np.arange(options.size) + 0.5) * (2 / options.size) - 1
        grid = tuple(np.meshgrid(side, side))
        points, colours = uv.reshape(-1, 2), values.reshape(-1, 3).numpy()
        return np.stack([griddata(points, colours[:, c], grid, method="linear") for c in range(3)], -1)

    looked_up()  # the first call loads what torch needs
    works = {
        "looked up": looked_up,
        "partial": lambda: partial_atlas(values, where, opaque, opaque, size),
        "griddata": published,
    }
    made, seconds = _fastest(works, rounds={"looked up": 10, "partial": 10, "griddata": 1})
    (looked, texels), partial, theirs = made.values()
    covered = np.zeros(size, bool)
    covered.reshape(-1)[texels] = True
    inside = covered & np.isfinite(theirs).all(-1)
    return {
        "texels": int(inside.sum()),
        "holes": _holes(covered),
        "seconds": seconds["looked up"],
        "seconds_with_edges": seconds["partial"],
        "griddata_seconds": seconds["griddata"],
        "times_faster": seconds["griddata"] / seconds["looked up"],
        "psnr": psnr(looked, truth, inside),
        "psnr_with_edges": psnr(partial.colour.numpy(), truth, inside),
        "griddata_psnr": psnr(theirs, truth, inside),
    }


def _fastest(works: dict[str, Callable[[], Any]], rounds: dict[str, int]) -> tuple[dict[str, Any], dict[str, float]]:
    """What each work gives, and its fastest time: in turns, so that a slow moment of the machine meets all of them."""
    made, best = {}, dict.fromkeys(works, float("inf"))
    for _ in range(3):
        for name, work in works.items():
            for _ in range(rounds[name]):
                start = time.perf_counter()
                made[name] = work()
                best[name] = min(best[name], time.perf_counter() - start)
    return made, best


def _holes(covered: np.ndarray) -> int:
    """Texels that are not covered and cannot be reached from outside (a border is put around the atlas)."""
    open_texels = np.pad((~covered).astype(np.uint8), 1, constant_values=1)
    labels = cv2.connectedComponents(open_texels, connectivity=4)[1]
    return int(((labels > 0) & (labels != labels[0, 0])).sum())


def printed(options: BenchSplatOptions) -> dict[str, Any] | str:
    """Measure; the figures as JSON has them, or lines to read."""
    figures = bench_splat(options)
    lines = [
        f"{options.width}x{options.height} pixels, 3 channels,"
        f" into {options.size}x{options.size} texels ({figures['texels']} seen)",
        f"looked up: {figures['seconds']:.3f} s, {figures['psnr']:.2f} dB to the true atlas",
        f"griddata per channel: {figures['griddata_seconds']:.2f} s, {figures['griddata_psnr']:.2f} dB",
        f"{figures['times_faster']:.0f} times faster",
        f"partial atlas, with coverage and soft edges: {figures['seconds_with_edges']:.3f} s,"
        f" {figures['psnr_with_edges']:.2f} dB, {figures['griddata_seconds'] / figures['seconds_with_edges']:.0f} times faster",
        f"holes: {figures['holes']} texels inside the covered region",
    ]
    return figures if options.json else "\n".join(lines)
