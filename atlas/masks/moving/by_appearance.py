"""Evidence of what is foreground in a restless clip, where water and reflections move too: scores, and appearance.

Flow spreads a motion beyond the edge of what moves, so a score is believed only at some distance from where it changes; in
between appearance decides, which is learned from what is certain in the *whole clip*.
"""

from __future__ import annotations

import cv2
import numpy as np

from atlas.masks.moving.cut import Cut, HalfClip, cut_out
from atlas.masks.moving.looks.appearance import Appearance
from atlas.storage.stack import RowStack
from atlas.system.parallel import in_order

_INSIDE, _OUTSIDE = 0.8, 0.17
"""Scores that are surely the foreground's, and surely the background's below."""
_SCORE = 2.0
"""What a certain score weighs, in units of a logarithm of odds."""
_BETWEEN = 0.8
"""What it weighs near where it changes."""
_EVEN, _CLEAREST = 0.5, 3.0
"""Appearance's logarithm of odds that is even (its model learns from as much foreground as background), and where it is cut."""
_SPREAD = 0.02
"""How far flow spreads a motion, in longer sides."""
_NEAR, _SHARE = 0.5, 0.5
"""Half of the background that is learned lies within this distance of the foreground, in square roots of its area."""
_MEMORY, _EDGE = 0.8, 4.0


def cut_by_appearance(half: HalfClip) -> Cut:
    """Cut out the foreground of a clip by scores and appearance."""
    area = float(np.mean([np.mean(half.score(index) > 0.5) for index in range(len(half))]))
    reach = max(3, round(_NEAR * float(np.sqrt(area * half.size[0] * half.size[1]))))
    appearance = Appearance(len(half), half.frame, lambda index: _certain(half.score(index), reach))

    def evidence(index: int) -> np.ndarray:
        looks = appearance.odds(index, half.frame(index)) - _EVEN
        return _believed(half.score(index)) + np.clip(looks, -_CLEAREST, _CLEAREST)

    def still(index: int) -> np.ndarray:
        return _believed(half.score(index)) < -0.8 * _SCORE

    odds = RowStack(half.scratch / "half odds", half.scores.shape, np.float16)
    for index, row in enumerate(in_order(evidence, range(len(half)))):
        odds[index] = row
    return cut_out(half, lambda index: odds[index].astype(np.float32), still, memory=_MEMORY, edge=_EDGE)


def _bounds(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # (h, w) -> (h, w) twice
    """The least and the greatest score within the distance that flow spreads a motion."""
    reach = 2 * max(1, round(_SPREAD * max(score.shape))) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    return cv2.erode(score, disc, borderValue=1.0), cv2.dilate(score, disc)


def _believed(score: np.ndarray) -> np.ndarray:  # (h, w) -> (h, w)
    """What the score says, positive inside: little near where it changes, which may be the flow of something beside."""
    least, greatest = _bounds(score)
    inside = np.clip((least - 0.5) / 0.4, 0, 1)
    outside = np.clip((0.5 - greatest) / (0.5 - _OUTSIDE), 0, 1)
    return np.where(inside + outside > 0.25, _SCORE * (inside - outside), _BETWEEN * (2 * score - 1))


def _certain(score: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:  # (h, w) -> (h, w) twice
    """Weights of what is surely the foreground, and surely the background: half of that within `reach` of the foreground."""
    least, greatest = _bounds(score)
    ground = (greatest < _OUTSIDE).astype(np.float32)
    around = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    near = ground * cv2.dilate((score > 0.5).astype(np.uint8), around)
    share = _SHARE * ground.sum() / max(1.0, float(near.sum()))
    return (least > _INSIDE).astype(np.float32), share * near + (1 - _SHARE) * ground
