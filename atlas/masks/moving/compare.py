"""Two frames compared: what moves against the background between them, and which pixels can be confirmed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from atlas.clip.flow import dense_flow, flow_validity
from atlas.geometry.flow import along_flow

GAPS = (1, 4, 8, 16)
"""Frames between two that are compared."""
_STILL, _MOVING = 3.0, 7.0
"""Scatters of the background's flow: a difference below the first says nothing, above the second it is certain."""
_MOTIONS, _SHARE, _OFF = 3, 0.15, 1.0
"""Motions that are looked for, the share of the points that one needs, and pixels by which its points may miss it."""
_CELLS = 8
"""Of the frame's width and height, along whose border places are counted."""
_SCATTER = 0.05
"""Pixels: flow is never trusted to better than this."""


@dataclass
class Measured:
    """What the comparison with another frame says of a frame."""

    gap: int
    """Frames to the other, negative where it is an earlier one."""
    homography: np.ndarray  # (3, 3): where the background's pixels are in the other frame
    moving: np.ndarray  # (H, W) float16 in [0, 1]
    confirmed: np.ndarray  # (H, W) bool


def compare(first: np.ndarray, second: np.ndarray, gap: int) -> tuple[np.ndarray, np.ndarray, Measured | None, Measured | None]:
    """Flow both ways between two frames, and what each says of its own pixels (None where no background is found)."""
    there, back = dense_flow(first, second), dense_flow(second, first)
    return there, back, _measure(first, second, there, back, gap), _measure(second, first, back, there, -gap)


def _measure(image: np.ndarray, other: np.ndarray, flow: np.ndarray, returning: np.ndarray, gap: int) -> Measured | None:
    valid = flow_validity(flow, returning, image)
    tracked = background_motion(flow, valid)
    if tracked is None:
        return None
    residual, scatter, homography = tracked
    seen = along_flow(other, flow).astype(np.float32)
    change = np.abs(cv2.GaussianBlur(image.astype(np.float32) - seen, (0, 0), 1.5)).max(axis=-1)
    usual = 1.48 * float(np.median(change[valid]))
    confirmed = valid & (change < max(6.0, 4 * usual))
    moving = np.clip((residual / scatter - _STILL) / (_MOVING - _STILL), 0, 1)
    return Measured(gap, homography, moving.astype(np.float16), confirmed)


class BackgroundMotion(NamedTuple):
    """The background's motion between two frames."""

    residual: np.ndarray  # (H, W) pixels by which each pixel's flow differs
    scatter: float  # of the background's own flow, pixels
    homography: np.ndarray  # (3, 3)


def background_motion(
    flow: np.ndarray,  # (H, W, 2)
    valid: np.ndarray,  # (H, W) bool
) -> BackgroundMotion | None:
    """Fit a homography to the background's flow by RANSAC: that, each pixel's residual, and the background's scatter.

    None where there is too little to go by.
    """
    height, width = valid.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    chosen = np.zeros_like(valid)
    chosen[4::8, 4::8] = True
    # The background is what reaches the frame's border, even where a large object fills most of the middle.
    down, across = round(0.2 * height), round(0.2 * width)
    dense = np.zeros_like(valid)
    dense[2::4, 2::4] = True
    dense[down:-down, across:-across] = False
    chosen = (chosen | dense) & valid
    if np.count_nonzero(chosen) < 30:
        return None
    points = np.stack([x[chosen], y[chosen]], axis=1)
    found = _motion_at_border(points, points + flow[chosen], (height, width))
    if found is None:
        return None
    homography, inliers = found
    moved = np.stack([x, y, np.ones_like(x)], axis=-1) @ homography.T.astype(np.float32)
    expected = moved[..., :2] / moved[..., 2:] - np.stack([x, y], axis=-1)
    residual = np.hypot(*np.moveaxis(flow - expected, -1, 0))
    scatter = 1.48 * float(np.median(residual[chosen][inliers]))
    return BackgroundMotion(residual, max(_SCATTER, scatter), homography)


def _motion_at_border(
    points: np.ndarray,  # (N, 2)
    targets: np.ndarray,  # (N, 2)
    shape: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray] | None:
    """Of the homographies that many points follow, the one of the frame's border, and which points do, (N,) bool.

    What fills half of the frame moves alike over most of it, but hardly reaches more than one side. A plain lawn has few
    points beside a face: places along the border are counted, and not points.
    """
    place, weight = _border_places(points, shape)
    left, best, most = np.ones(len(points), bool), None, 0.0
    for _ in range(_MOTIONS):
        if np.count_nonzero(left) < max(30, _SHARE * len(points)):
            break
        cv2.setRNGSeed(0)
        homography, _ = cv2.findHomography(points[left], targets[left], cv2.RANSAC, _OFF, maxIters=1000, confidence=0.999)
        if homography is None:
            break
        moved = cv2.perspectiveTransform(points[:, None].astype(np.float64), homography)[:, 0]
        inliers = np.hypot(*(moved - targets).T) < _OFF
        counts = [np.bincount(place, chosen, len(weight)) for chosen in (inliers, np.ones(len(place)))]
        border = float(weight @ (counts[0] / np.maximum(counts[1], 1)))
        if inliers.mean() >= _SHARE and border > most:
            best, most = (homography, inliers), border
        if border > 0.75 * float(weight @ (counts[1] > 0)):
            break
        left &= ~inliers
    return best


def _border_places(points: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Of each point its cell of the frame, (N,), and what each cell weighs: those inside nothing, those at the bottom half."""
    cell = np.minimum((points[:, ::-1] * _CELLS / shape).astype(np.int64), _CELLS - 1)
    weight = np.zeros((_CELLS, _CELLS))
    weight[-1] = 0.5  # where who stands in the picture stands
    weight[0] = weight[:, 0] = weight[:, -1] = 1.0
    return cell[:, 0] * _CELLS + cell[:, 1], weight.ravel()


def certainly_moving(measured: list[Measured], shape: tuple[int, ...]) -> np.ndarray:
    """One frame's pixels that two comparisons (one, where there is only one) find moving: (H, W) float32 in [0, 1]."""
    if not measured:
        return np.zeros(shape, np.float32)
    moving = np.sort(np.stack([one.moving * one.confirmed for one in measured]), axis=0)
    return moving[-2 if len(measured) > 1 else -1].astype(np.float32)
