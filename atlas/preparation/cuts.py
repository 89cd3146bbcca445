"""Shot boundary detection: finds hard cuts by a cheap look at small frames while they are read.

At a cut two things happen at once: nothing of one frame's structure is found in the next, whichever way it may have moved, and
the colours change far more than between the frames around. Fast motion changes the colours little or does so for several
frames; flashes and exposure keep the structure, or the frames on either side of them match. Fades and dissolves are not found:
no two of their frames differ that much.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from atlas.clip.flow import dense_flow, flow_validity
from atlas.errors import UserError, a_few
from atlas.geometry.flow import along_flow
from atlas.video.source import SMALLEST, fit_image

_SIDE = 128
"""Longer side, in pixels, of the frames that are compared."""
_REACH = 4
"""Frames on either side of a cut that must not match across it."""
_MATCH = 0.05
"""Share of the structure that two frames of one shot have in common at least; unrelated ones reach 0.02, neighbours 0.7."""
_LOCAL_CORRELATION = 0.6
_COLOUR = 0.18
"""Share of the pixels whose colour is another: less is no cut, whatever the structure."""
_CLEAR_COLOUR = 0.35
"""The same: more is a cut even where frames around match badly too."""
_ABOVE_USUAL = 3.0  # times what changes between the frames around
_STEADY = 0.3  # structure that these have in common, for a smaller change of colours to count
_TEXTURED = 2.0  # grey levels: standard deviation of the surroundings

_BRIGHTENED = np.sqrt(np.arange(256) * 255).round().astype(np.uint8)
"""Dark scenes would fill a few of the colours only."""


@dataclass
class _Small:
    """A small frame, and what is compared of it."""

    structure: np.ndarray
    """(h, w) float32: grey without its local mean and contrast."""
    textured: np.ndarray
    """(h, w) bool."""
    colours: np.ndarray
    """Shares of 512 colours."""


class CutFinder:
    """Finds cuts in frames that are added in order; memory does not grow with them but by two numbers each."""

    def __init__(self) -> None:
        self._window: deque[_Small] = deque(maxlen=2 * _REACH)
        self._count = 0
        self._common: list[float] = []  # [t]: structure that frames t and t + 1 share
        self._changed: list[float] = []  # [t]: colours that changed between them
        self._bridged: set[int] = set()

    def add(self, frame: np.ndarray) -> None:
        """Take in the next frame, (H, W, 3) uint8."""
        small = _small(frame)
        if self._window:
            self._common.append(_in_common(self._window[-1], small))
            self._changed.append(float(np.abs(small.colours - self._window[-1].colours).sum() / 2))
        self._window.append(small)
        self._count += 1
        if len(self._common) >= _REACH:
            self._look_across(len(self._common) - _REACH)

    def cuts(self) -> list[int]:
        """Numbers of the frames that start another shot."""
        for pair in range(max(0, len(self._common) - _REACH + 1), len(self._common)):
            self._look_across(pair)
        return [pair + 1 for pair in range(len(self._common)) if self._is_cut(pair)]

    def _look_across(self, pair: int) -> None:
        """Note where frames on both sides of a collapse match: what lies between was a flash, or passed by."""
        if not self._collapses(pair):
            return
        first = self._count - len(self._window)
        before = [t for t in range(pair - _REACH + 1, pair + 1) if t >= first]
        after = range(pair + 1, min(pair + 1 + _REACH, self._count))
        for a in reversed(before):
            for b in after:
                if (a, b) != (pair, pair + 1) and _in_common(self._window[a - first], self._window[b - first]) >= _MATCH:
                    self._bridged.add(pair)
                    return

    def _collapses(self, pair: int) -> bool:
        return self._common[pair] < _MATCH and self._changed[pair] > _COLOUR

    def _is_cut(self, pair: int) -> bool:
        if not self._collapses(pair) or pair in self._bridged:
            return False
        sides = [slice(max(0, pair - _REACH), pair), slice(pair + 1, pair + 1 + _REACH)]
        usual = max((float(np.median(self._changed[side])) for side in sides if self._changed[side]), default=0.0)
        if self._changed[pair] < _ABOVE_USUAL * usual:
            return False
        around = [value for side in sides for value in self._common[side]]
        return self._changed[pair] > _CLEAR_COLOUR or (bool(around) and float(np.median(around)) > _STEADY)


def refuse_cuts(cuts: Sequence[int], indices: Sequence[int], source: Path) -> None:
    """UserError where there are cuts: which frames of the source start another shot, and the options that take one shot.

    cuts: clip frames that start another shot; indices: the source's frame shown at each clip frame.
    """
    if not cuts:
        return
    starts = [0, *cuts]
    shots = [(indices[a], b - a) for a, b in zip(starts, [*cuts, len(indices)], strict=True)]
    several = len(cuts) > 1
    numbers = a_few((indices[cut] for cut in cuts), 5)
    chosen = [max(shots, key=lambda shot: shot[1])] if several else shots
    takes = " or ".join(f"--start {start} --frames {count}" for start, count in chosen if count > 1)
    raise UserError(
        f"frame{'s' if several else ''} {numbers} of {source} start{'' if several else 's'} another shot, "
        f"and a clip holds one: take {'the longest' if several else 'one'} with {takes}, or all of it with --cuts ignore"
    )


def _small(frame: np.ndarray) -> _Small:
    height, width = frame.shape[:2]
    scale = min(1.0, max(_SIDE / max(height, width), 2 * SMALLEST / min(height, width)))
    frame = fit_image(frame, (max(SMALLEST, round(width * scale)), max(SMALLEST, round(height * scale))))
    frame = cv2.LUT(frame, _BRIGHTENED)
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    mean = _blur(grey, 4)
    variance = np.maximum(_blur(grey * grey, 4) - mean * mean, 0)
    histogram = cv2.calcHist([frame], [0, 1, 2], None, [8, 8, 8], [0, 256] * 3)
    for axis in range(3):  # a colour near the border between two cells must not jump with the noise
        histogram = _spread(histogram, axis)
    return _Small((grey - mean) / np.sqrt(variance + 16), variance > _TEXTURED**2, histogram.ravel() / histogram.sum())


def _spread(histogram: np.ndarray, axis: int) -> np.ndarray:
    padded = np.pad(histogram, [(1, 1) if i == axis else (0, 0) for i in range(3)], mode="edge")
    parts = [np.take(padded, range(start, start + 8), axis) for start in range(3)]
    return parts[0] / 4 + parts[1] / 2 + parts[2] / 4


def _in_common(first: _Small, second: _Small) -> float:
    """Share of the first frame's textured pixels whose surroundings are found in the second one, wherever they went."""
    grey = [np.clip(small.structure * 40 + 128, 0, 255).astype(np.uint8) for small in (first, second)]
    flow = dense_flow(grey[0], grey[1])
    asked = first.textured
    matched = asked & flow_validity(flow, dense_flow(grey[1], grey[0]))
    if not matched.any():
        return 0.0
    here, there = first.structure, along_flow(second.structure, flow)
    covariance = _blur(here * there, 3) - _blur(here, 3) * _blur(there, 3)
    spread = [np.maximum(_blur(image * image, 3) - _blur(image, 3) ** 2, 0) for image in (here, there)]
    return float((matched & (covariance > _LOCAL_CORRELATION * (np.sqrt(spread[0] * spread[1]) + 0.05))).sum() / asked.sum())


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), sigma)
