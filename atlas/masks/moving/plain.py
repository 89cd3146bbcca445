"""Plain surfaces: where nothing shows whether they move.

A door, a jacket or a road looks alike wherever it is, and so does a long edge that moves along itself. Flow is carried into
such a surface from what is beside it, by chance from the one side or the other: what it says there is no evidence.
"""

from __future__ import annotations

import cv2
import numpy as np

_AROUND = 2.0
"""Pixels over which contrast is gathered, a Gaussian's deviation."""
_SHOWS = 2.0
"""Grey levels a pixel of contrast from which on motion is seen."""
_HOLLOW = 0.3
"""Radius of a disc that does not fit into a hollow of the object, in square roots of its area."""


def shows_motion(image: np.ndarray) -> np.ndarray:
    """Where an image (H, W, 3) uint8 has the contrast by which motion is seen whichever way it goes, (H, W) bool.

    That across the direction which has least is the root of the structure tensor's smaller eigenvalue (Shi and Tomasi 1994).
    """
    light = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    across, down = (cv2.Sobel(light, cv2.CV_32F, *way, scale=1 / 8) for way in ((1, 0), (0, 1)))
    xx, yy, xy = (cv2.GaussianBlur(product, (0, 0), _AROUND) for product in (across * across, down * down, across * down))
    return (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy * xy) > _SHOWS**2


def hollows(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Find plain places between parts of an object: (H, W) bool. A plain door may be missing there, or the ground be seen.

    mask: (H, W) bool, the object as far as it was found; image: (H, W, 3) uint8.
    """
    radius = max(2.0, _HOLLOW * float(np.sqrt(np.count_nonzero(mask))))
    margin = int(radius) + 2
    wide = _distance(np.pad(mask, margin)) <= radius
    closed = _distance(~wide)[margin:-margin, margin:-margin] > radius
    return closed & ~mask & ~shows_motion(image)


def _distance(mask: np.ndarray) -> np.ndarray:  # (H, W) bool -> (H, W) float32
    """Pixels to the nearest that is in the mask."""
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
