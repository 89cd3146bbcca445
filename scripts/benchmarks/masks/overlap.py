"""Region overlap (J of DAVIS, intersection over union) of masks that are found with given ones, and the time that it takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import tyro

from atlas.clip.clip import BACKGROUND, Clip, Source
from atlas.clip.writer import ClipWriter
from atlas.errors import UserError
from atlas.masks.learned.options import NetworkOptions
from atlas.masks.source import open_mask_source
from atlas.preparation.taken import open_taken
from atlas.storage.images import write_image
from atlas.system.command import CommonOptions
from atlas.video.source import fit_image, fitted_size

_TILE = 384
_WORST = 8
"""Frames that are named and shown."""


@dataclass(kw_only=True)
class BenchMasksOptions(NetworkOptions, CommonOptions):
    """Measure what a mask source finds, on clips whose masks are known."""

    clips: tyro.conf.Positional[tuple[Path, ...]]
    """Folders with `frames` and `masks` in them, as DAVIS has them."""
    masks: str = "auto"
    """The source, as `prepare.py --masks` takes it."""
    frames: int | None = None
    """How many frames are taken; default: all."""
    start: int = 0
    """First frame taken."""
    max_side: int = 768
    """Frames are averaged down to this longer side first."""
    sheet: Path | None = None
    """A folder for a picture of each clip's worst frames: given outlines green, found ones red."""
    json: bool = False
    """Print JSON, with the overlap in each frame, instead of lines to read."""


def bench_masks(options: BenchMasksOptions) -> dict[str, Any]:
    """Of each clip: the overlap by frame and its mean, and processor seconds a frame. UserError where masks are missing."""
    if not options.clips:
        raise UserError("no clip is named: give folders with frames and masks in them")
    return {str(folder): _measured(folder, options) for folder in options.clips}


def _measured(folder: Path, options: BenchMasksOptions) -> dict[str, Any]:
    source, indices = open_taken(folder / "frames", options.start, options.frames, None)
    known = open_mask_source(str(folder / "masks"), source, indices)
    found = open_mask_source(options.masks, source, indices, options)
    width, height = fitted_size(source.width, source.height, options.max_side)
    origin = Source(str(folder), source.sha256, source.width, source.height, options.start, indices, 0.0, None)
    with TemporaryDirectory(prefix="bench-masks-") as scratch:
        clip = Clip(Path(scratch), "clip", len(indices), width, height, 24.0, [*found.layers, BACKGROUND], origin)
        writer = ClipWriter(clip)
        writer.write_frames(fit_image(frame, (width, height)) for frame in source.read(indices))
        start, began = time.process_time(), time.perf_counter()
        writer.write_masks(found.masks(clip, quiet=options.quiet))
        seconds, wall = time.process_time() - start, time.perf_counter() - began
        truth = [np.max(masks, axis=0) for masks in known.masks(clip, quiet=True)]
        overlaps = [overlap(_whole(clip, index) > 127, mask > 127) for index, mask in enumerate(truth)]
        worst = sorted(range(len(overlaps)), key=overlaps.__getitem__)[:_WORST]
        if options.sheet:
            options.sheet.mkdir(parents=True, exist_ok=True)
            write_image(options.sheet / f"{folder.resolve().name}.png", _sheet(clip, truth, sorted(worst), overlaps))
    return {
        "overlap": float(np.mean(overlaps)),
        "least": min(overlaps),
        "worst": worst,
        "frames": overlaps,
        "cpu_seconds_per_frame": seconds / len(indices),
        "seconds_per_frame": wall / len(indices),
        "remarks": found.remarks(),
    }


def overlap(found: np.ndarray, known: np.ndarray) -> float:
    """Intersection over union of two masks, (H, W) bool; 1 where both are empty."""
    either = np.count_nonzero(found | known)
    return float(np.count_nonzero(found & known) / either) if either else 1.0


def _whole(clip: Clip, index: int) -> np.ndarray:
    return np.max([clip.mask(layer, index) for layer in clip.objects], axis=0)


def _sheet(clip: Clip, truth: list[np.ndarray], frames: list[int], overlaps: list[float]) -> np.ndarray:
    tiles = list(_tiles(clip, truth, frames, overlaps))
    tiles += [np.full_like(tiles[0], 255)] * (len(tiles) % 2)
    return np.vstack([np.hstack(tiles[place : place + 2]) for place in range(0, len(tiles), 2)])


def _tiles(clip: Clip, truth: list[np.ndarray], frames: list[int], overlaps: list[float]) -> Iterator[np.ndarray]:
    size = fitted_size(clip.width, clip.height, _TILE)
    for index in frames:
        tile = np.ascontiguousarray(fit_image(clip.frame(index), size))
        for mask, colour in ((truth[index], (0, 255, 0)), (_whole(clip, index), (255, 0, 0))):
            outlines, _ = cv2.findContours((fit_image(mask, size) > 127).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(tile, outlines, -1, colour, 1)
        cv2.putText(tile, f"{index}: {overlaps[index]:.2f}", (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)
        yield tile


def printed(options: BenchMasksOptions) -> dict[str, Any] | str:
    """Measure; the results as JSON has them, or lines to read."""
    results = bench_masks(options)
    return results if options.json else "\n".join(line for name, figures in results.items() for line in _lines(name, figures))


def _lines(name: str, figures: dict[str, Any]) -> list[str]:
    worst = ", ".join(f"{index} ({figures['frames'][index]:.2f})" for index in figures["worst"])
    return [
        f"{name}: overlap {figures['overlap']:.3f}, least {figures['least']:.3f};"
        f" {figures['cpu_seconds_per_frame']:.2f} processor s a frame ({figures['seconds_per_frame']:.2f} s)",
        f"  worst frames: {worst}",
        *(f"  {remark}" for remark in figures["remarks"]),
    ]
