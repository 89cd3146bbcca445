"""How an edit carries over to what the fit does not hold: grain, glints, passing shadows, a wheel that turns.

A frame is light * atlas + left-over. Adding light * (edited - reference) keeps the left-over in the old colour: an
orange car keeps a white car's glints. Here the left-over is multiplied by how the edit changed the layer's own
detail round about: by the slope of edited against reference colours, regressed over a neighbourhood in the atlas and
drawn towards their ratio where there is no detail. A recolour then recolours the left-over too; a new texture, which
follows nothing of the old one, drops it.
"""

from __future__ import annotations

import cv2
import numpy as np

RADIUS = 6.0
"""Texels over which detail is compared (sigma)."""
RIDGE = 1e-3
"""Variance of colour that counts as much as the prior, the ratio."""
DARK = 0.04
"""Colour below which a ratio says little: it is drawn towards 1."""
_COARSE = 3  # texels between the places where neighbourhoods are averaged
LIMITS = (-1.5, 2.0)
"""Range of the gain: noise must not be amplified beyond measure."""


def left_over_gain(
    edited: np.ndarray,  # (N, N, 3) float32
    reference: np.ndarray,  # (N, N, 3) float32
    coverage: np.ndarray,  # (N, N) float32
) -> np.ndarray:  # (N, N, 3) float32
    """Gain of the left-over at each texel, per channel; exactly 1 where edited and reference are the same or not covered."""
    changed = (edited != reference).any(-1) & (coverage > 0)
    gain = np.ones_like(edited)
    if not changed.any():
        return gain
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    margin = int(3 * RADIUS)
    box = tuple(slice(max(found[0] - margin, 0), found[-1] + 1 + margin) for found in (rows, columns))
    # Texels that the edit left alone say nothing about how it changes those that it did not.
    weight = (coverage[box] * changed[box])[..., None]
    new, old = edited[box], reference[box]
    support = np.maximum(_mean_around(weight), 1e-6)[..., None]
    weighted = weight * old
    new_mean, old_mean, square, product = (
        _mean_around(image) / support for image in (weight * new, weighted, weighted * old, weighted * new)
    )
    variance = np.maximum(square - old_mean * old_mean, 0)
    covariance = product - new_mean * old_mean
    ratio = np.clip((new_mean + DARK) / (old_mean + DARK), 0, LIMITS[1])
    slope = np.clip((covariance + RIDGE * ratio) / (variance + RIDGE), *LIMITS)
    slope = cv2.resize(slope.astype(np.float32), new.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    gain[box] = np.where(changed[box][..., None], slope, 1)
    return gain


def _mean_around(image: np.ndarray) -> np.ndarray:  # (h, w, C) -> (h / _COARSE, w / _COARSE, C)
    """Means over the neighbourhood, for every few texels: they are as smooth as that, and ten times cheaper."""
    size = [max(1, side // _COARSE) for side in image.shape[1::-1]]
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(small, (0, 0), RADIUS / _COARSE, borderType=cv2.BORDER_REPLICATE)
