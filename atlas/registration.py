"""Registration: from a chained track to one that agrees with a single atlas in every frame.

Rounds of: average all frames into an atlas through the track; render it into each frame; optical flow
from the frame to that rendering; smooth the flow inside the layer, coarse to fine; add it to the track.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from atlas.flow import dense_flow, one_thread
from atlas.parallel import in_order
from atlas.tracking import STRIDE, Track, apply_homography, smooth_within


@dataclass(frozen=True)
class Canvas:
    """The rectangle of reference pixels that a layer's atlas image covers."""

    left: float
    top: float
    width: int
    height: int

    def texels(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Column and row on the canvas, float32, of reference positions (..., 2)."""
        return (positions[..., 0] - self.left).astype(np.float32), (positions[..., 1] - self.top).astype(np.float32)


LIMIT = 4096
"""Longest side of a canvas in reference pixels: what strays further is cut off."""


def canvas_of(track: Track, weights: Callable[[int], np.ndarray]) -> Canvas:
    """The canvas that holds what the layer's visible pixels map to (0.1 % of strays at each end apart)."""
    grid = track.grid_size
    positions, seen = [], []
    for t in range(len(track.base)):
        weight = cv2.resize(weights(t), grid[::-1], interpolation=cv2.INTER_AREA)
        positions.append(track.at(t, track.nodes())[weight > 0.25])
        seen.append(len(positions[-1]))
    points = np.concatenate(positions) if sum(seen) else np.zeros((1, 2), np.float32)
    low, high = points.min(0) - 6, points.max(0) + 7
    span = np.minimum(high - low, LIMIT)
    centre = (low + high) / 2 if (high - low < LIMIT).all() else np.median(points, 0)
    low = np.where(high - low < LIMIT, low, centre - span / 2)
    return Canvas(float(low[0]), float(low[1]), int(np.ceil(span[0])), int(np.ceil(span[1])))


def average(
    track: Track,
    frames: Callable[[int], np.ndarray],
    weights: Callable[[int], np.ndarray],
    canvas: Canvas,
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean of all frames splatted through the track: colours (h, w, C) and total weight (h, w)."""
    def part(t: int) -> np.ndarray:
        return splat_to_canvas(frames(t), track.dense(t), weights(t), canvas)

    parts = in_order(part, range(len(track.base)))
    total = next(parts)
    for more in parts:  # always in the order of the frames, so that the sum is the same to the bit
        total += more
    return total[..., :-1] / np.maximum(total[..., -1:], 1e-6), total[..., -1]


def splat_to_canvas(image: np.ndarray, positions: np.ndarray, weight: np.ndarray, canvas: Canvas) -> np.ndarray:
    """Bilinear splat of (H, W, C) with weights (H, W): (h, w, C + 1), weighted sum and weight."""
    column, row = canvas.texels(positions)
    keep = (weight > 0) & (column >= 0) & (row >= 0) & (column < canvas.width - 1) & (row < canvas.height - 1)
    column, row, weight = column[keep], row[keep], weight[keep]
    left, top = np.floor(column), np.floor(row)
    x, y = column - left, row - top
    index = (top.astype(np.int64) * canvas.width + left.astype(np.int64))
    values = [image[..., c][keep] * weight for c in range(image.shape[2])] + [weight]
    result = np.empty((len(values), canvas.height * canvas.width), np.float32)
    taps = np.concatenate([index, index + 1, index + canvas.width, index + canvas.width + 1])
    shares = np.concatenate([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y])
    for channel, value in enumerate(values):
        result[channel] = np.bincount(taps, np.tile(value, 4) * shares, canvas.height * canvas.width)
    return result.T.reshape(canvas.height, canvas.width, len(values))


def texture_without_light(
    image: np.ndarray,  # (H, W, 3) in [0, 1]
    weight: np.ndarray,  # (H, W)
) -> np.ndarray:  # (H, W) float32, mostly within [-2, 2]
    """Brightness against its surroundings inside the layer, in local deviations: what light leaves as it is."""
    grey = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2GRAY)
    stacked = np.stack([grey * weight, grey * grey * weight, weight], -1)
    local = cv2.blur(cv2.blur(stacked, (25, 25)), (25, 25))
    mean, square = (local[..., i] / np.maximum(local[..., 2], 1e-3) for i in (0, 1))
    return (grey - mean) / (np.sqrt(np.maximum(square - mean * mean, 0)) + 0.02) * (weight > 0)


def register_round(
    track: Track,
    frames: Callable[[int], np.ndarray],
    weights: Callable[[int], np.ndarray],
    sigma: float,
) -> Track:
    """The track after one round of correction, smoothed over `sigma` pixels.

    frames(t): (H, W, 3) in [0, 1]; weights(t): (H, W) in [0, 1], how far a pixel belongs to the layer.
    """
    canvas = canvas_of(track, weights)
    with one_thread():
        atlas, seen = average(track, lambda t: texture_without_light(frames(t), weights(t))[..., None], weights, canvas)
        offsets = in_order(
            lambda t: _corrected(track, t, frames(t), weights(t), atlas, seen, canvas, sigma), range(len(track.base))
        )
        return Track(track.base, np.stack(list(offsets)), track.height, track.width)


def _corrected(
    track: Track,
    t: int,
    image: np.ndarray,
    weight: np.ndarray,
    atlas: np.ndarray,
    seen: np.ndarray,
    canvas: Canvas,
    sigma: float,
) -> np.ndarray:
    """The offsets of frame `t` after one round."""
    grid = track.grid_size
    column, row = canvas.texels(track.dense(t))
    rendered = cv2.remap(atlas, column, row, cv2.INTER_LINEAR)
    known = cv2.remap(seen.astype(np.float32), column, row, cv2.INTER_LINEAR) > 1.5  # by another frame than this one
    trust = (weight > 0.5) & known
    if not trust.any():
        return track.offset[t]
    own = np.where(trust, texture_without_light(image, weight), rendered)
    first, second = (np.clip(picture * 50 + 128, 0, 255).astype(np.uint8) for picture in (own, rendered))
    flow = dense_flow(first, second)
    detail = cv2.blur(cv2.Sobel(rendered, cv2.CV_32F, 1, 0) ** 2 + cv2.Sobel(rendered, cv2.CV_32F, 0, 1) ** 2, (9, 9))
    confidence = trust * (detail / (detail + 1.0))
    evidence = np.dstack([flow * confidence[..., None], confidence]).astype(np.float32)
    stacked = cv2.resize(evidence, grid[::-1], interpolation=cv2.INTER_AREA)
    moved = smooth_within(stacked[..., :2] / np.maximum(stacked[..., 2:], 1e-6), stacked[..., 2], sigma / STRIDE, floor=1e-2)
    nodes = track.nodes()
    return track.at(t, nodes + moved) - apply_homography(track.base[t], nodes)
