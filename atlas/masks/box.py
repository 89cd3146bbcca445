"""Segmentation from a box around the object in the first frame: GrabCut there, then mask propagation by optical flow."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from atlas.clip.clip import Clip
from atlas.clip.flow import dense_flow
from atlas.errors import UserError
from atlas.geometry.flow import along_flow
from atlas.masks.cutout import refine_mask, soften
from atlas.masks.folder import layer_names
from atlas.masks.moving.compare import GAPS, certainly_moving, compare
from atlas.system.progress import Progress
from atlas.video.source import FrameSource, fit_image, fitted_size

_SIDE = 512
"""Pixels of the longer side that masks are searched at; finer costs much and finds the same."""
_WEIGHT = 0.3
"""What one frame's decision about the edge weighs against the carried mask."""


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels: left, top, width, height."""

    x: float
    y: float
    width: float
    height: float

    def scaled(self, across: float, down: float) -> Box:
        """The same rectangle in another resolution."""
        return Box(self.x * across, self.y * down, self.width * across, self.height * down)

    def text(self) -> str:
        """What --masks says for it."""
        return f"box:{self.x:.10g},{self.y:.10g},{self.width:.10g},{self.height:.10g}"


def parse_box(text: str, width: int, height: int) -> Box | None:
    """The box of `box:x,y,w,h`; None for a text that is no box.

    Raises UserError for one that is not understood or does not lie inside a frame of width x height pixels.
    """
    if not text.startswith("box:"):
        return None
    numbers = text[4:].split(",")
    if len(numbers) != 4 or not all(re.fullmatch(r"\s*-?\d+(\.\d+)?\s*", number) for number in numbers):
        raise UserError(f"--masks {text} is not understood: give box:x,y,w,h in the source's pixels")
    box = Box(*(float(number) for number in numbers))
    check_box(box, width, height)
    return box


def check_box(box: Box, width: int, height: int) -> None:
    """UserError where a box does not lie inside a frame of width x height pixels, or is too small or too large."""
    asked = f"--masks {box.text()}"
    if box.x < 0 or box.y < 0 or box.x + box.width > width or box.y + box.height > height:
        raise UserError(f"{asked} does not lie inside the {width}x{height} frame: give x,y,w,h in the source's pixels")
    if min(box.width, box.height) < 4:
        raise UserError(f"{asked} is too small: the box must hold the object, at least 4 pixels a side")
    if box.width * box.height > 0.98 * width * height:
        raise UserError(f"{asked} covers the whole frame: leave some background around the object")


@dataclass(frozen=True)
class BoxMasks:
    """Mask source: the object in a box of the first frame."""

    text: str
    """Of --masks."""
    box: Box
    """In the source's pixels."""

    @classmethod
    def parse(cls, text: str, source: FrameSource, indices: list[int]) -> BoxMasks | None:
        """The source that `box:x,y,w,h` names; None for a text that is no box, UserError for a box that will not do."""
        box = parse_box(text, source.width, source.height)
        return cls(text, box) if box is not None else None

    @property
    def layers(self) -> list[str]:
        """The one object."""
        return layer_names(1)

    def masks(self, clip: Clip, *, quiet: bool) -> Iterator[list[np.ndarray]]:
        """Follow the object through the clip."""
        box = self.box.scaled(clip.width / clip.source.width, clip.height / clip.source.height)
        return ([mask] for mask in masks_from_box(clip.frame, clip.frames, box, quiet))

    def complete(self, clip: Clip) -> dict[str, list[int]]:
        """Nothing is missing."""
        return {}

    def remarks(self) -> list[str]:
        """What finds the object."""
        return ["the box is followed by GrabCut and optical flow; SAM 2 finds more: name its weights with --segmenter"]

    def digest_parts(self) -> tuple[str | None, list[Path | str]]:
        """The text."""
        return self.text, []


def masks_from_box(frame: Callable[[int], np.ndarray], frames: int, box: Box, quiet: bool = False) -> Iterator[np.ndarray]:
    """Follow the object in `box` (first frame) through the clip.

    GrabCut finds it in the first frame, starting from what moves inside the box where something does; optical
    flow carries the mask from frame to frame, where the pixels along its edge are decided anew by colour, each
    decision with a small weight, so that it takes several frames to agree. Gives (H, W) uint8 masks, frame by frame. Raises
    UserError where the box holds no object.
    """
    height, width = frame(0).shape[:2]
    size = fitted_size(width, height, _SIDE)
    scale = size[0] / width
    previous = fit_image(frame(0), size)
    later = [fit_image(frame(gap), size) for gap in GAPS if gap < frames]
    mask = _in_box(previous, box.scaled(scale, size[1] / height), _moving(previous, later))
    yield soften(mask, (width, height))
    band = max(3, round(0.012 * max(size)))
    belief: np.ndarray = mask.astype(np.float32)
    for index in Progress(range(1, frames), desc="masks", unit="frame", quiet=quiet):
        current = fit_image(frame(index), size)
        belief = along_flow(belief, dense_flow(current, previous))
        refined = _tidy(refine_mask(current, belief > 0.5, band))
        belief = (1 - _WEIGHT) * belief + _WEIGHT * refined
        yield soften(_tidy(belief > 0.5), (width, height))
        previous = current


def _moving(first: np.ndarray, later: list[np.ndarray]) -> np.ndarray:
    """What moves in the first frame, against the background: (H, W) bool."""
    measured = [one for gap, other in zip(GAPS, later, strict=False) if (one := compare(first, other, gap)[2]) is not None]
    return certainly_moving(measured, first.shape[:2]) > 0.5


def _in_box(image: np.ndarray, box: Box, moving: np.ndarray) -> np.ndarray:
    """GrabCut in the first frame: (H, W) bool."""
    left, top = max(0, round(box.x)), max(0, round(box.y))
    right, bottom = round(box.x + box.width), round(box.y + box.height)
    labels = np.full(image.shape[:2], cv2.GC_BGD, np.uint8)
    labels[top:bottom, left:right] = cv2.GC_PR_FGD
    inside = moving[top:bottom, left:right]
    if 0.1 < inside.mean() < 0.9:
        labels[top:bottom, left:right] = np.where(inside, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
        # Flow spreads a motion beyond its edge, so only what lies deeper is certain.
        reach = 2 * round(0.02 * max(image.shape)) + 1
        core = cv2.erode(inside.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)), borderValue=0)
        labels[top:bottom, left:right][core > 0] = cv2.GC_FGD
    cv2.setRNGSeed(0)
    cv2.grabCut(image, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), 6, cv2.GC_INIT_WITH_MASK)
    mask = _tidy((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD))
    if np.count_nonzero(mask) < 0.03 * (right - left) * (bottom - top):
        raise UserError("the box holds nothing that differs from its surroundings: draw it closer, or give a folder of masks")
    return mask


def _tidy(mask: np.ndarray) -> np.ndarray:
    """Without specks and pinholes: parts and holes below a fiftieth of the largest part go."""
    for value in (True, False):
        count, labels, stats, _ = cv2.connectedComponentsWithStats((mask == value).astype(np.uint8), connectivity=4)
        areas = stats[:, cv2.CC_STAT_AREA]
        least = np.count_nonzero(mask) / 50
        for part in range(1, count):
            if areas[part] < least:
                mask = np.where(labels == part, not value, mask)
    return mask
