"""Signed distance of each pixel to a mask's outline ("depth"): where opacity starts, and what registration weighs by."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from atlas.clip.clip import Clip
from atlas.masks.contours import Margin, clip_margin, follow_edges, is_matte
from atlas.video.sheet import spread

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
    safe = np.clip(share, 0.02, 0.98)
    depth = np.where(soft, np.log(safe / (1 - safe)) / EDGE, depth)
    return np.clip(depth, -REACH, REACH).astype(np.float32)


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


def depth_reader(clip: Clip, *, follow: bool) -> Callable[[int, np.ndarray | None], list[np.ndarray]]:
    """A function that reads the signed distances into the masks of all objects in a frame, (H, W) int8 as of `pack_depth`.

    follow: outlines are moved to the edges of the picture, (H, W, 3) uint8, which is decoded where that needs it and it is not
    given. Inside `one_thread`, or the last bits depend on the machine.
    """
    margins = [_margin(clip, layer) if follow else None for layer in clip.objects]

    def read(t: int, image: np.ndarray | None = None) -> list[np.ndarray]:
        depths = []
        for layer, margin in zip(clip.objects, margins, strict=True):
            mask = clip.mask(layer, t)
            depth = depth_of(mask)
            if margin is not None and not is_matte(mask):
                image = clip.frame(t) if image is None else image
                depth = follow_edges(image, depth, margin)
            depths.append(pack_depth(depth))
        return depths

    return read


def _margin(clip: Clip, layer: str) -> Margin:
    """How far off the masks of an object are, from some of the frames that show it."""
    seen = [t for t in range(clip.frames) if clip.mask(layer, t).any()]
    chosen = [seen[i] for i in spread(len(seen), 24)] if seen else []
    return clip_margin((clip.frame(t), depth_of(mask)) for t in chosen if not is_matte(mask := clip.mask(layer, t)))
