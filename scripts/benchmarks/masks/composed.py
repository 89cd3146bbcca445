"""Put a clip together of two, whose masks are known.

`python -m scripts.benchmarks.masks.composed OUT --foreground CLIP --background CLIP`: the object of one clip, cut out by its
masks and scaled, moves before the background's atlas of another, over which a camera pans, zooms and shakes; grain is added.
OUT gets `frames` and `masks`, as `bench_masks.py` takes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tyro

from atlas.clip.clip import BACKGROUND, Clip
from atlas.errors import UserError
from atlas.geometry.boxes import bounding_box, sides_of
from atlas.maps.maps import open_maps
from atlas.storage.images import read_image, to_8_bit, write_image
from atlas.system.command import CommonOptions, run_command

_COVERED = 0.99
"""Share of each border of the ground that some frame saw."""
_SPARE = 1.08
"""How much more of the ground there is than the camera needs."""
_SOFT, _GRAIN = 0.8, 2.0
"""Pixels by which the object's edge is blurred; grey levels of noise."""


@dataclass(kw_only=True)
class ComposedOptions(CommonOptions):
    """Put a clip together of two: the object of one before the background of the other."""

    out: tyro.conf.Positional[Path]
    """Folder to write: frames and masks."""
    foreground: Path
    """Clip's folder whose masks cut the object out: its first layer."""
    background: Path
    """Clip's folder whose fit has the background's atlas."""
    fit: str = "default"
    """The fit."""
    size: tuple[int, int] = (640, 360)
    """Width and height."""
    frames: int = 28
    """How many, at most."""
    start: int = 0
    """First frame of the object's clip."""
    scale: float = 1.0
    """Of the object: at 1 its own frames are as wide as the clip's."""
    place: tuple[float, float] = (260.0, 200.0)
    """Where the middle of the object's box is in the first frame, in pixels."""
    step: tuple[float, float] = (3.0, 0.0)
    """Pixels that it moves on in each frame."""
    pan: tuple[float, float] = (0.0, 0.0)
    """Pixels that the ground moves on in each frame."""
    zoom: float = 0.0
    """Share by which the ground grows in each frame."""
    shake: float = 0.3
    """Pixels by which the camera shakes, a normal deviation."""
    seed: int = 1
    """Of shaking and grain."""


def composed(options: ComposedOptions) -> str:
    """Write the clip; a line that says where. UserError where a clip or fit is missing, or OUT holds something."""
    clip = Clip.open(options.foreground)
    shown = range(options.start, min(options.start + options.frames, clip.frames))
    if not shown or options.start < 0 or min(options.size) < 16 or options.scale <= 0:
        raise UserError(f"nothing would be shown: check --start, --frames (the clip has {clip.frames}), --size and --scale")
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise UserError(f"{options.out} is not empty: name a new folder")
    ground, random = _ground(options), np.random.default_rng(options.seed)
    for name in ("frames", "masks"):
        (options.out / name).mkdir(parents=True)
    for index, frame in enumerate(shown):
        behind = _seen(ground, options, index - len(shown) / 2, random)
        together, inside = _before(behind, clip.frame(frame), clip.mask(clip.objects[0], frame), options, index)
        grainy = together + random.normal(0, _GRAIN, together.shape)
        write_image(options.out / "frames" / f"{index:05d}.png", np.clip(grainy + 0.5, 0, 255).astype(np.uint8))
        write_image(options.out / "masks" / f"{index:05d}.png", np.where(inside > 0.5, 255, 0).astype(np.uint8))
    return f"{options.out}: {len(shown)} frames of {options.size[0]}x{options.size[1]}"


def _ground(options: ComposedOptions) -> np.ndarray:  # (h, w, 3) uint8
    """The part of the background's atlas that frames saw, without its ragged border; holes show what is beside them."""
    atlas = to_8_bit(read_image(open_maps(Clip.open(options.background), options.fit, BACKGROUND).atlas_path(BACKGROUND)))
    seen = atlas[..., 3] > 0
    box = bounding_box(seen)
    if box is None:
        raise UserError(f"{options.background}: the background was never seen: take another clip")
    rows, columns = box
    while True:
        part = seen[rows, columns]
        shares = [part[0].mean(), part[-1].mean(), part[:, 0].mean(), part[:, -1].mean()]
        worst = int(np.argmin(shares))
        if shares[worst] >= _COVERED or min(part.shape) < 16:
            break
        rows = slice(rows.start + (worst == 0), rows.stop - (worst == 1))
        columns = slice(columns.start + (worst == 2), columns.stop - (worst == 3))
    image = np.ascontiguousarray(atlas[rows, columns, :3])
    hole = cv2.dilate((~part).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0  # the rim of what was seen is a blend
    if holes := bounding_box(hole):
        image[hole] = np.roll(image, sides_of(holes)[1], axis=1)[hole]
    return image


def _seen(ground: np.ndarray, options: ComposedOptions, time: float, random: np.random.Generator) -> np.ndarray:
    """What the camera sees of the ground, (height, width, 3) uint8; time: frames since the middle of the clip."""
    height, width = ground.shape[:2]
    across, down = (abs(pan) * options.frames for pan in options.pan)
    scale = max((options.size[0] + across) / width, (options.size[1] + down) / height) * _SPARE * (1 + options.zoom * time)
    middle = np.array(options.size) / 2 - scale * np.array([width, height]) / 2
    shift = middle + np.array(options.pan) * time + random.normal(0, options.shake, 2)
    camera = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    return cv2.warpAffine(ground, camera, options.size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _before(
    behind: np.ndarray, frame: np.ndarray, mask: np.ndarray, options: ComposedOptions, index: int
) -> tuple[np.ndarray, np.ndarray]:
    """The object before the ground, (height, width, 3) float, and how far each pixel is inside it, (height, width)."""
    rows, columns = bounding_box(mask > 127) or (slice(0, 0), slice(0, 0))
    scale = options.scale * options.size[0] / frame.shape[1]
    middle = np.array([columns.start + columns.stop, rows.start + rows.stop]) / 2
    shift = np.array(options.place) + np.array(options.step) * index - scale * middle
    put = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    cutout = cv2.warpAffine(frame, put, options.size).astype(np.float64)
    inside = cv2.warpAffine(cv2.GaussianBlur(mask, (0, 0), _SOFT), put, options.size) / 255.0
    return cutout * inside[..., None] + behind * (1 - inside[..., None]), inside


if __name__ == "__main__":
    run_command(ComposedOptions, composed)
