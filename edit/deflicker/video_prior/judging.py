"""How good a prediction of the edit is, without knowing the truth: by what the edits of neighbouring frames show there.

A frame's own flicker is not in its neighbours, so a prediction that has learned it is farther from them (the argument of
Lehtinen et al., Noise2Noise, ICML 2018). On average over frames, with e the prediction's error, f the frame's flicker and m
all by which neighbours miss the frame's place (each independent of the others):

    |prediction - around|^2 = e^2 + f^2 / 2 + m^2      |edit - around|^2 = 3/2 f^2 + m^2      |prediction - edit|^2 = e^2 + f^2
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edit.deflicker.video_prior.bands import blurred, low_bands
from edit.deflicker.video_prior.footage import Footage
from edit.deflicker.video_prior.predictor import Prior

_JUDGED = 24  # frames that are looked at, at most
_Images = Callable[[int], np.ndarray]  # frame number -> (h, w, 3)
_Look = Callable[[np.ndarray, np.ndarray], np.ndarray]  # difference (h, w, 3), weight (h, w) -> (bands, h, w, 3)


def disagreement(prior: Prior, footage: Footage, sigma: float | None) -> float:
    """Mean squared distance from what is predicted to what neighbouring frames show; NaN where they show nothing.

    sigma: pixels of the blur through which both are looked at; None: as they are.
    """

    def look(difference: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return (difference if sigma is None else blurred(difference, weight, sigma))[None]

    def difference(index: int) -> np.ndarray:
        return prior.predict(footage.source[index]) - footage.around[index][..., :3]

    (apart,) = _mean_squares(footage, difference, look)
    return float(apart)


def moves(prior: Prior, footage: Footage, sigma: float) -> np.ndarray:  # (bands,) float32 in [0, 1]
    """Decide how far an edit moves towards its prediction, in each of `low_bands`: a Wiener filter, in favour of steadiness.

    f^2 / (e^2 + f^2) of what they differ by is flicker, as the distances above tell. Half or more: the edit moves all the
    way, for the prediction is then nearer to the truth. Less: in proportion, so that a clean edit stays. Where neighbours
    show nothing it moves all the way.
    """

    def look(difference: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return low_bands(difference, weight, sigma)

    def predicted(index: int) -> np.ndarray:
        return prior.predict(footage.source[index])

    def edited(index: int) -> np.ndarray:
        return footage.edited[index][..., :3]

    def around(index: int) -> np.ndarray:
        return footage.around[index][..., :3]

    moved = _mean_squares(footage, lambda index: predicted(index) - edited(index), look)
    before = _mean_squares(footage, lambda index: edited(index) - around(index), look)
    after = _mean_squares(footage, lambda index: predicted(index) - around(index), look)
    shares = (1 + (before - after) / np.maximum(moved, 1e-12)) / 2
    return np.where(np.isnan(shares), 1, np.clip(2 * shares, 0, 1)).astype(np.float32)


def _mean_squares(footage: Footage, difference: _Images, look: _Look) -> np.ndarray:  # (bands,)
    """Mean squares of differences in each band, weighted by how much neighbours show; NaN where they show nothing."""
    squared, known = np.zeros(1), 0.0
    chosen = np.unique(np.linspace(0, len(footage) - 1, min(len(footage), _JUDGED)).round().astype(int))
    for index in map(int, chosen):
        weight = footage.around[index][..., 3]
        bands = look(difference(index), weight).astype(np.float64)
        squared = squared + ((bands**2).mean(-1) * weight).sum((1, 2))
        known += float(weight.sum())
    if not known:
        return np.full(len(squared), np.nan)
    return np.where(np.isfinite(squared), squared / known, np.inf)  # a network that went astray is never the best
