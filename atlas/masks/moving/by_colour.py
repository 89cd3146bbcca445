"""Evidence of what is foreground in a clip whose ground lies still: scores, and colours that are learned in the *whole clip*.

Each pixel counts for the colours as far as it is inside, sure or not: what moves for a part of its life alone, as the jacket of
somebody who talks, brings its colours in as well.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

from atlas.masks.moving.cut import Cut, HalfClip, PerFrame, cut_out

_INSIDE, _LIKELY, _OUTSIDE = 0.85, 0.5, 0.17
"""Scores: surely inside, more likely inside, surely outside below."""
_SCORE = 2.0
"""What a certain score weighs, in units of a logarithm of odds."""
_COLOUR, _CLEAREST = 1.5, 3.0
"""What a colour's logarithm of odds weighs, and where it is clipped."""
_BINS = 24
"""Steps of each colour channel."""
_NEAR = 0.5
"""Background colours are learned within this distance of the foreground, in square roots of its area."""
_ROUNDS = 2
"""How often colours and masks are found in turn."""
_MEMORY, _EDGE = 0.9, 5.0


def cut_by_colour(half: HalfClip) -> Cut:
    """Cut out the foreground of a clip by scores and colours, which are found in turn."""

    def as_scored(index: int) -> np.ndarray:  # as finely as a cut's is kept
        return np.clip((half.score(index) - _OUTSIDE) / (_INSIDE - _OUTSIDE), 0, 1).astype(np.float16)

    def still(index: int) -> np.ndarray:
        return _still(half.score(index))

    cut = _cut_by(half, _colour_odds(half, as_scored), still)
    for _ in range(_ROUNDS - 1):
        cut = _cut_by(half, _colour_odds(half, cut.inside.__getitem__), still)
    return cut


def _cut_by(half: HalfClip, odds: np.ndarray, still: PerFrame) -> Cut:
    """Cut by the odds of colours, (_BINS^3,)."""

    def evidence(index: int) -> np.ndarray:
        return _scored(half.score(index)) + _COLOUR * odds[_colour_number(half.frame(index))]

    return cut_out(half, evidence, still, memory=_MEMORY, edge=_EDGE, forbidden=True)


def _still(score: np.ndarray) -> np.ndarray:
    """Where nothing moves near by, (h, w) bool."""
    reach = 2 * max(2, round(0.01 * max(score.shape))) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    return cv2.dilate((score > _OUTSIDE).astype(np.uint8), disc) == 0


def _scored(score: np.ndarray) -> np.ndarray:
    """What scores (h, w) say, positive inside."""
    # Flow spreads a motion a little beyond the edge of what moves, so even odds are a little towards the certain end.
    even = _LIKELY + 0.4 * (_INSIDE - _LIKELY)
    steps = np.interp(score, [0, _OUTSIDE, even, _INSIDE, 1], [-1.5, -1, 0, 1, 1.2])
    return steps.astype(np.float32) * _SCORE


def _colour_odds(half: HalfClip, inside: PerFrame) -> np.ndarray:
    """For each colour the clipped logarithm of the odds that it is the foreground's, (_BINS^3,) float32.

    inside: frame -> (h, w), how far each pixel is inside, in [0, 1].
    """
    area = float(np.mean([np.mean(inside(index) > 0.5) for index in range(len(half))])) * half.size[0] * half.size[1]
    reach = max(3, round(_NEAR * float(np.sqrt(area))))
    around = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    counts = np.zeros((2, _BINS**3))
    for index in range(len(half)):
        share, colours = inside(index).astype(np.float32), _colour_number(half.frame(index)).ravel()
        near = cv2.dilate((share > 0.5).astype(np.uint8), around)
        for side, weight in enumerate((share**2, (1 - share) ** 2 * near)):
            counts[side] += np.bincount(colours, weight.ravel(), _BINS**3)
    smooth = [ndimage.gaussian_filter(side.reshape(_BINS, _BINS, _BINS), 1.0) for side in counts]
    shares = [side / max(float(side.sum()), 1e-9) + 0.3 / _BINS**3 for side in smooth]
    return np.clip(np.log(shares[0] / shares[1]), -_CLEAREST, _CLEAREST).astype(np.float32).ravel()


def _colour_number(image: np.ndarray) -> np.ndarray:
    """Which of _BINS^3 colours each pixel of (H, W, 3) uint8 has: (H, W) int16. Hue is told finer than lightness."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    lab[..., 1:] = np.clip(128 + 2 * (lab[..., 1:] - 128), 0, 255)
    step = np.minimum(lab.astype(np.int16) * _BINS // 256, _BINS - 1)
    return (step[..., 0] * _BINS + step[..., 1]) * _BINS + step[..., 2]
