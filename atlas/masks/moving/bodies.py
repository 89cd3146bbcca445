"""Bodies: what moves as one piece with what can be followed, although it cannot be followed itself.

A car that drives away shrinks, turns its side from the camera and shines: much of it looks different some frames later, and
nothing there can be followed. It still goes where the rest of it goes, which waves and leaves do not. A current does, where a
thing drifts on it: there is far more of it than of the thing.
"""

from __future__ import annotations

import cv2
import numpy as np

_EVERY = 3
"""Pixels between those that a motion is fitted to."""
_LEAST = 30
"""Of them, for there to be a motion."""
_OFF = 1.0
"""Pixels up to which flow fits the motion."""
_ALIKE = 0.5
"""Of a pixel's way over the ground: it goes along where the motion leaves less of that unexplained."""


def goes_along(
    flow: np.ndarray,  # (H, W, 2) pixels to a neighbouring frame
    homography: np.ndarray,  # (3, 3) the background's motion to it
    followed: np.ndarray,  # (H, W) bool: what moves and can be followed
) -> np.ndarray:
    """Find the pixels that move over the ground as the body of those that can be followed does: (H, W) bool.

    The body's motion is affine; nothing goes along where none is found.
    """
    height, width = followed.shape
    places = np.stack(np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64)), -1)
    nowhere = np.zeros(followed.shape, bool)
    chosen = np.zeros_like(followed)
    chosen[_EVERY // 2 :: _EVERY, _EVERY // 2 :: _EVERY] = True
    chosen &= followed
    if np.count_nonzero(chosen) < _LEAST or not homography.any():
        return nowhere
    over_ground = places + flow - cv2.perspectiveTransform(places, homography)
    cv2.setRNGSeed(0)
    affine, _ = cv2.estimateAffine2D(
        places[chosen], places[chosen] + over_ground[chosen], method=cv2.RANSAC, ransacReprojThreshold=_OFF
    )
    if affine is None:
        return nowhere
    left = over_ground - (cv2.transform(places, affine) - places)
    return np.linalg.norm(left, axis=-1) < _ALIKE * np.linalg.norm(over_ground, axis=-1)
