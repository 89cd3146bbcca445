"""Residual transfer: local regression of the edit on the atlas, which says how the fit's residual changes with the edit.

A frame is light * atlas + residual: grain, glints, passing shadows, a wheel that turns. Adding light * (edited - reference)
keeps the residual in the old colour: an orange car keeps a white car's glints. Here the residual is multiplied by how the edit
changed the layer's own detail round about: by the slope of edited against reference colours, regressed over a neighbourhood in
the atlas and drawn towards their ratio where there is no detail. A recolour then recolours the residual too; a new texture,
which follows nothing of the old one, drops it.
"""

from __future__ import annotations

import cv2
import numpy as np

from atlas.geometry.boxes import bounding_box

RADIUS = 6.0
"""Texels over which detail is compared (sigma)."""
RIDGE = 1e-3
"""Variance of colour that counts as much as the prior, the ratio."""
DARK = 0.04
"""Colour below which a ratio says little: it is drawn towards 1."""
FAINT = 1e-5
"""Variance of colour too small to tell whether the edit follows it."""
_COARSE = 3  # texels between the places where neighbourhoods are averaged
LIMITS = (-1.5, 2.0)
"""Range of the gain: noise must not be amplified beyond measure."""


def transferred(
    edited: np.ndarray,  # (N, N, 3) float32
    reference: np.ndarray,  # (N, N, 3) float32
    coverage: np.ndarray,  # (N, N) float32
) -> tuple[np.ndarray, np.ndarray]:  # (N, N, 3) and (N, N, 3) float32
    """Regress the edit on the reference: the gain of the residual, and how far the edit is a map of the old colours, in [0, 1].

    A colour map is given what the frame shows, light and all, so what it adds is not lit once more. A new texture, which
    says nothing about the old colours, is: it gets the layer's light.
    """
    changed = (edited != reference).any(-1) & (coverage > 0)
    gain, mapped = np.ones_like(edited), np.zeros_like(edited)
    box = bounding_box(changed, int(3 * RADIUS))
    if box is None:
        return gain, mapped
    # Texels that the edit left alone say nothing about how it changes those that it did not.
    weight = (coverage[box] * changed[box])[..., None]
    new, old = edited[box], reference[box]
    support = np.maximum(_mean_around(weight), 1e-6)[..., None]
    weighted = weight * old
    new_mean, old_mean, square, new_square, product = (
        _mean_around(image) / support for image in (weight * new, weighted, weighted * old, weight * new * new, weighted * new)
    )
    variance = np.maximum(square - old_mean * old_mean, 0)
    new_variance = np.maximum(new_square - new_mean * new_mean, 0)
    covariance = product - new_mean * old_mean
    ratio = np.clip((new_mean + DARK) / (old_mean + DARK), 0, LIMITS[1]) * _curve(new[changed[box]], old[changed[box]])
    slope = np.clip((covariance + RIDGE * ratio) / (variance + RIDGE), *LIMITS)
    follows = np.clip(covariance**2 / ((variance + FAINT) * (new_variance + FAINT)), 0, 1)
    for result, coarse in ((gain, slope), (mapped, follows)):
        fine = cv2.resize(coarse.astype(np.float32), new.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        result[box] = np.where(changed[box][..., None], fine, result[box])
    return gain, mapped


def _curve(edited: np.ndarray, reference: np.ndarray) -> np.ndarray:  # (M, 3), (M, 3) -> (3,)
    """Fit the power of the old colours that the new ones follow over the whole layer (1 = in proportion), as far as they do."""
    step = max(1, len(edited) // 100_000)
    new, old = (np.log(np.maximum(image[::step], DARK / 4)).astype(np.float64) for image in (edited, reference))
    new, old = new - new.mean(0), old - old.mean(0)
    covariance, variance = (new * old).mean(0), (old * old).mean(0) + 1e-4
    share = covariance**2 / (variance * ((new * new).mean(0) + 1e-4))
    return (1 + share * (np.clip(covariance / variance, 0, 2) - 1)).astype(np.float32)


def _mean_around(image: np.ndarray) -> np.ndarray:  # (h, w, C) -> (h / _COARSE, w / _COARSE, C)
    """Average over the neighbourhood, for every few texels: means are as smooth as that, and ten times cheaper."""
    size = [max(1, side // _COARSE) for side in image.shape[1::-1]]
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(small, (0, 0), RADIUS / _COARSE, borderType=cv2.BORDER_REPLICATE)
