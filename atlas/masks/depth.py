"""Signed distance of each pixel to a mask's outline ("depth"): where opacity starts, and what registration weighs by."""

from __future__ import annotations

import cv2
import numpy as np

REACH = 15.0
"""Pixels beyond which depth is not told apart."""
STEPS = 8.0
"""Steps per pixel in which depth is stored, as int8."""
EDGE = 2.0
"""Slope of the opacity across an outline, per pixel: 10 % to 90 % within 2.2 px."""


def depth_of(mask: np.ndarray) -> np.ndarray:
    """Signed distance in pixels to the outline of a mask, (H, W) float32 within +-REACH, positive inside.

    mask: (H, W) uint8. Where the mask is soft, depth is what makes the opacity the mask's own value:
    the edges of a shrunk mask keep their place to a fraction of a pixel, and hair stays soft.
    """
    share = mask.astype(np.float32) / 255
    inside = (share > 0.5).astype(np.uint8)
    if not inside.any():
        return np.full(mask.shape, -REACH, np.float32)
    if inside.all():
        return np.full(mask.shape, REACH, np.float32)
    distance_in = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
    distance_out = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    depth = np.where(inside, distance_in - 0.5, 0.5 - distance_out)
    soft = (share > 0.02) & (share < 0.98)
    depth[soft] = np.log(share[soft] / (1 - share[soft])) / EDGE
    return np.clip(depth, -REACH, REACH)


def pack_depth(depth: np.ndarray) -> np.ndarray:
    """Store signed distances in pixels as int8, in steps of 1 / STEPS."""
    return np.round(np.clip(depth, -REACH, REACH) * STEPS).astype(np.int8)


def unpack_depth(packed: np.ndarray) -> np.ndarray:
    """Signed distances in pixels, float32, of those that `pack_depth` stored."""
    return packed.astype(np.float32) / STEPS


def object_weight(depth: np.ndarray) -> np.ndarray:
    """How far a pixel surely belongs to the object: 1 well inside, 0 outside, (H, W) float32."""
    return np.clip(depth, 0, 1)


def background_weight(depths: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """1 at least 4 px outside all objects, 0 within 3 px, (H, W) float32."""
    weight = np.ones(shape, np.float32)
    for depth in depths:
        weight = np.minimum(weight, np.clip(-depth - 3, 0, 1))
    return weight
