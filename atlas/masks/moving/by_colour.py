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
BINS = 24
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

    cut = _cut_by(half, colour_odds(colour_shares(half, as_scored)), still)
    for _ in range(_ROUNDS - 1):
        cut = _cut_by(half, colour_odds(colour_shares(half, cut.inside.__getitem__)), still)
    return cut


def _cut_by(half: HalfClip, odds: np.ndarray, still: PerFrame) -> Cut:
    """Cut by the odds of colours, (BINS^3,)."""

    def evidence(index: int) -> np.ndarray:
        return scored(half.score(index)) + odds[colour_number(half.frame(index))]

    return cut_out(half, evidence, still, memory=_MEMORY, edge=_EDGE, forbidden=still)


def _still(score: np.ndarray) -> np.ndarray:
    """Where nothing moves near by, (h, w) bool."""
    reach = 2 * max(2, round(0.01 * max(score.shape))) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    return cv2.dilate((score > _OUTSIDE).astype(np.uint8), disc) == 0


def scored(score: np.ndarray) -> np.ndarray:
    """What scores (h, w) say, positive inside."""
    # Flow spreads a motion a little beyond the edge of what moves, so even odds are a little towards the certain end.
    even = _LIKELY + 0.4 * (_INSIDE - _LIKELY)
    steps = np.interp(score, [0, _OUTSIDE, even, _INSIDE, 1], [-1.5, -1, 0, 1, 1.2])
    return steps.astype(np.float32) * _SCORE


def colour_shares(half: HalfClip, inside: PerFrame) -> tuple[np.ndarray, np.ndarray]:
    """The share that each colour has of the foreground, and of the background near it, (BINS^3,) twice; none is 0.

    inside: frame -> (h, w), how far each pixel is inside, in [0, 1].
    """
    area = float(np.mean([np.mean(inside(index) > 0.5) for index in range(len(half))])) * half.size[0] * half.size[1]
    reach = max(3, round(_NEAR * float(np.sqrt(area))))
    around = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    counts = np.zeros((2, BINS**3))
    for index in range(len(half)):
        share, numbers = inside(index).astype(np.float32), colour_number(half.frame(index)).ravel()
        near = cv2.dilate((share > 0.5).astype(np.uint8), around)
        for side, weight in enumerate((share**2, (1 - share) ** 2 * near)):
            counts[side] += np.bincount(numbers, weight.ravel(), BINS**3)
    smooth = [ndimage.gaussian_filter(side.reshape(BINS, BINS, BINS), 1.0) for side in counts]
    shares = [side / max(float(side.sum()), 1e-9) + 0.3 / BINS**3 for side in smooth]
    return shares[0].ravel(), shares[1].ravel()


def colour_odds(shares: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """For each colour the clipped and weighted logarithm of the odds that it is the foreground's, (BINS^3,) float32."""
    return _COLOUR * np.clip(np.log(shares[0] / shares[1]), -_CLEAREST, _CLEAREST).astype(np.float32)


def colours(image: np.ndarray) -> np.ndarray:
    """Lab of (H, W, 3) uint8, from 0 to 255, in which hue is told finer than lightness: (H, W, 3) float32."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    lab[..., 1:] = np.clip(128 + 2 * (lab[..., 1:] - 128), 0, 255)
    return lab


def colour_number(image: np.ndarray) -> np.ndarray:
    """Which of BINS^3 `colours` each pixel of (H, W, 3) uint8 has: (H, W) int16."""
    step = np.minimum(colours(image).astype(np.int16) * BINS // 256, BINS - 1)
    return (step[..., 0] * BINS + step[..., 1]) * BINS + step[..., 2]
