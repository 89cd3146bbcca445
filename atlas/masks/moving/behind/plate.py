"""Background plates: what a frame shows of the ground where something stands before it, from frames in which it has gone.

Frames before and after are laid over a frame by the background's homographies, step by step, each put right by the flow that
is left; exposure that changes between them is made equal. Of what they show of the ground the median is the plate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from atlas.clip.flow import dense_flow
from atlas.masks.moving.behind.exposure import exposed_alike
from atlas.masks.moving.evidence import STEPS, Footage
from atlas.storage.stack import RowStack

_OFFSETS = (4, 8, 14, 22, 32)
"""Frames to those that are asked, before and after."""
_NEAR, _ENOUGH = 8, 2
"""Frames so near do not count where as many others show the ground: a foot stands for some time."""
_SHARE = 0.05
"""Of a frame that must show the ground in both frames for them to be laid over each other."""
_EQUAL, _ALIKE = 12.0, 0.5
"""Grey levels by which the ground may differ, and the share of it that must not differ by more."""
_OFF = 1.0
"""Pixels by which the ground may miss a homography."""
_EVERY, _FEWEST = 6, 60
"""Of the pixels in a row one is a point, and points below which no homography is fitted."""
_UNSEEN = np.uint16(0xFFFF)

Ground = Callable[[int], np.ndarray]
"""Frame -> (H, W) bool: it shows the ground there."""


@dataclass(frozen=True)
class Plate:
    """What is known of the ground behind a frame."""

    colour: np.ndarray  # (H, W, 3) uint8
    seen: np.ndarray  # (H, W) bool: some frame shows it
    spread: np.ndarray  # (H, W) float32 median difference of the frames that show it, grey levels


@dataclass(frozen=True)
class Plates:
    """The ground behind each frame, on the disk."""

    stack: RowStack
    """(T, H, W, 4) uint8: its colour, and 255 where some frame shows it."""

    def colour(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8."""
        return self.stack[index][..., :3]

    def seen(self, index: int) -> np.ndarray:
        """(H, W) bool."""
        return self.stack[index][..., 3] > 0


def background_plate(clip: Footage, index: int, ground: Ground) -> Plate:
    """Find what a frame would show without the foreground."""
    shape = clip.images.shape[1:]
    near: list[np.ndarray] = []
    far: list[np.ndarray] = []
    for way in (1, -1):
        for offset, image, seen in _laid_over(clip, index, way, ground):
            (near if offset <= _NEAR else far).append(np.where(seen[..., None], image, _UNSEEN).astype(np.uint16))
    if not near:
        return Plate(np.zeros(shape, np.uint8), np.zeros(shape[:2], bool), np.zeros(shape[:2], np.float32))
    enough = np.sum([image[..., 0] != _UNSEEN for image in far], axis=0) >= _ENOUGH
    images = np.stack([*(np.where(enough[..., None], _UNSEEN, image) for image in near), *far]) if far else np.stack(near)
    count = np.count_nonzero(images[..., 0] != _UNSEEN, axis=0)
    colour = _median(images, count[..., None])
    differences = np.abs(images.astype(np.int32) - colour).max(axis=-1).astype(np.uint16)
    differences[images[..., 0] == _UNSEEN] = _UNSEEN
    seen = count > 0
    spread = np.where(seen, _median(differences, count), 0).astype(np.float32)
    return Plate(np.where(seen[..., None], colour, 0).astype(np.uint8), seen, spread)


def _median(values: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The median of the smallest `count` (...) values (N, ...) along the first axis, the lower one of two."""
    return np.take_along_axis(np.sort(values, axis=0), np.maximum(count - 1, 0)[None] // 2, axis=0)[0]


def _laid_over(clip: Footage, index: int, way: int, ground: Ground) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Frames later (way 1) or earlier (-1): by how much, laid over a frame, (H, W, 3) uint8, and where they show the ground.

    They end where one does not fit.
    """
    image, here = clip.images[index], ground(index)
    soft = _blurred(image)
    motion, place = np.eye(3), index
    for offset in _OFFSETS:
        target = index + way * offset
        step = _homography(clip, place, target) if 0 <= target < len(clip.images) else None
        if step is None:
            return
        motion, place = step @ motion, target
        other, there = clip.images[target], ground(target)
        moved, both = _seen_through(other, there, motion)
        if np.mean(both & here) < _SHARE:
            return
        motion = motion @ _left(image, soft, moved, both & here)
        moved, both = _seen_through(other, there, motion)
        common = both & here
        if np.mean(common) < _SHARE:
            return
        moved = exposed_alike(moved, image, common)
        if np.mean(np.abs(soft - _blurred(moved)).max(axis=-1)[common] < _EQUAL) < _ALIKE:
            return
        yield offset, moved, both


def _homography(clip: Footage, start: int, end: int) -> np.ndarray | None:
    """Where the background's pixels of one frame are in another, (3, 3), in as few steps as there are."""
    motion, place, way = np.eye(3), start, 1 if end > start else -1
    while place != end:
        known = clip.steps[place][:, 0 if way > 0 else 1]
        fitting = [row for row, step in enumerate(STEPS) if step <= abs(end - place) and known[row].any()]
        if not fitting:
            return None
        motion = known[fitting[0]] @ motion
        place += way * STEPS[fitting[0]]
    return motion


def _seen_through(image: np.ndarray, ground: np.ndarray, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An image and its ground as another frame shows them, whose pixels `motion` leads to it."""
    size, flags = (image.shape[1], image.shape[0]), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpPerspective(ground.astype(np.float32), motion, size, flags=flags)
    return cv2.warpPerspective(image, motion, size, flags=flags), seen > 0.9


def _left(image: np.ndarray, soft: np.ndarray, moved: np.ndarray, ground: np.ndarray) -> np.ndarray:  # (3, 3)
    """The homography that is left between a frame and one laid over it; none where too little of the ground is confirmed."""
    flow = dense_flow(image, moved)
    height, width = ground.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    followed = cv2.remap(moved, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    change = np.abs(soft - _blurred(followed)).max(axis=-1)
    confirmed = ground & (change < max(4.0, 4 * float(np.median(change[ground]))))
    rows = slice(_EVERY // 2, None, _EVERY)
    chosen = confirmed[rows, rows]
    if np.count_nonzero(chosen) < _FEWEST:
        return np.eye(3)
    points = np.stack([x[rows, rows][chosen], y[rows, rows][chosen]], axis=1)
    cv2.setRNGSeed(0)
    homography, _ = cv2.findHomography(
        points, points + flow[rows, rows][chosen], cv2.RANSAC, _OFF, maxIters=500, confidence=0.995
    )
    return np.eye(3) if homography is None else homography


def _blurred(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.0)
