"""Parts of a clip's masks in space and time: those that weigh little go, and so do small holes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

_LEAST = 0.2
"""Of the heaviest part's weight: lighter ones go."""
_HOLE, _HOLE_AT_BORDER = 0.02, 0.05
"""Of a mask's area: smaller holes go. What the object and the frame's border enclose has less of an edge to show that it is not
part of it."""
_PLAIN_HOLE, _SEEN_THROUGH = 0.5, 0.2
"""Enclosed holes up to this share of the mask's area go too, where less than that share of them is surely ground: doors and
windows of a car are plain, and nothing in them shows that they move."""


class MainParts:
    """The masks of T frames without parts below a fifth of the heaviest, found frame by frame.

    Pixels of a part touch each other by their sides, or lie at the same place in neighbouring frames.
    """

    def __init__(
        self,
        frames: int,
        mask: Callable[[int], np.ndarray],  # frame -> (H, W) bool; asked for again with each frame
        score: Callable[[int], np.ndarray],  # frame -> (H, W) in [0, 1]: a pixel weighs its square
        ground: Callable[[int], np.ndarray],  # frame -> (H, W) bool: surely not the object
    ) -> None:
        self._mask, self._ground = mask, ground
        self._first: list[int] = []
        parents, before = _Sets(), np.zeros(1, np.int64)
        weights: list[np.ndarray] = []
        for index in range(frames):
            labels, count = ndimage.label(mask(index))
            self._first.append(parents.add(count))
            weights.append(np.bincount(labels.ravel(), (score(index) ** 2).ravel(), count + 1)[1:])
            numbers = np.where(labels > 0, labels + self._first[-1] - 1, -1)
            if index:
                both = (numbers >= 0) & (before >= 0)
                for one, other in np.unique(np.stack([before[both], numbers[both]], 1), axis=0).tolist():
                    parents.join(one, other)
            before = numbers
        roots = np.array([parents.root(number) for number in range(len(parents))], np.int64)
        total = np.bincount(roots, np.concatenate(weights), len(roots)) if len(roots) else np.zeros(0)
        self._kept = total[roots] >= _LEAST * total.max(initial=0)

    def __getitem__(self, index: int) -> np.ndarray:
        """The mask of a frame, (H, W) bool."""
        labels, count = ndimage.label(self._mask(index))
        start = self._first[index]
        return _without_holes(np.concatenate([[False], self._kept[start : start + count]])[labels], self._ground(index))


class _Sets:
    """Numbers from 0 on, joined to sets (union-find)."""

    def __init__(self) -> None:
        self._parents: list[int] = []

    def __len__(self) -> int:
        return len(self._parents)

    def add(self, count: int) -> int:
        """Add so many sets of one; returns the first number."""
        first = len(self._parents)
        self._parents += range(first, first + count)
        return first

    def root(self, number: int) -> int:
        """The number that stands for the set."""
        while self._parents[number] != number:
            self._parents[number] = number = self._parents[self._parents[number]]
        return number

    def join(self, one: int, other: int) -> None:
        """Make one set of two."""
        one, other = self.root(one), self.root(other)
        self._parents[max(one, other)] = min(one, other)


def _without_holes(mask: np.ndarray, ground: np.ndarray) -> np.ndarray:  # (H, W) bool, twice
    holes, count = ndimage.label(~mask)
    areas = np.bincount(holes.ravel(), minlength=count + 1)
    seen_through = np.bincount(holes[ground], minlength=count + 1) / np.maximum(areas, 1)
    least = np.where(seen_through < _SEEN_THROUGH, _PLAIN_HOLE, _HOLE)
    least[np.unique(np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]]))] = _HOLE_AT_BORDER
    return mask | ((areas < least * np.count_nonzero(mask))[holes] & ~mask)
