"""One keyframe into an atlas, against SciPy's griddata for each channel: scripts/bench_splat.py

Both get the same pixels of the sample's background (a frame of 768x432 by default) and fill the same 2000x2000 texels; the
true atlas is known. Wall seconds, the fastest of several in turns; griddata uses one core.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.system.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # on Ctrl-C, while the rest is loading

import cv2
import numpy as np
import torch

from atlas.clip.clip import BACKGROUND
from atlas.errors import UserError
from atlas.geometry.rasterise import inverse_map
from atlas.geometry.warp import sample
from atlas.maps.partial import partial_atlas
from atlas.sample.scene import make_sample
from atlas.system.command import CommonOptions, run_command


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
    (found, texels), partial, theirs = made.values()
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
        "psnr": _psnr(found, truth, inside),
        "psnr_with_edges": _psnr(partial.colour.numpy(), truth, inside),
        "griddata_psnr": _psnr(theirs, truth, inside),
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


def _psnr(found: np.ndarray, truth: np.ndarray, inside: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((found[inside] - truth[inside]) ** 2)))


def _printed(options: BenchSplatOptions) -> dict[str, Any] | str:
    found = bench_splat(options)
    lines = [
        f"{options.width}x{options.height} pixels, 3 channels,"
        f" into {options.size}x{options.size} texels ({found['texels']} seen)",
        f"looked up: {found['seconds']:.3f} s, {found['psnr']:.2f} dB to the true atlas",
        f"griddata per channel: {found['griddata_seconds']:.2f} s, {found['griddata_psnr']:.2f} dB",
        f"{found['times_faster']:.0f} times faster",
        f"partial atlas, with coverage and soft edges: {found['seconds_with_edges']:.3f} s,"
        f" {found['psnr_with_edges']:.2f} dB, {found['griddata_seconds'] / found['seconds_with_edges']:.0f} times faster",
        f"holes: {found['holes']} texels inside the covered region",
    ]
    return found if options.json else "\n".join(lines)


if __name__ == "__main__":
    run_command(BenchSplatOptions, _printed)
