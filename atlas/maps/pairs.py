"""Pairs of keyframes that are compared: of many keyframes not all with all, so that work grows with their number alone."""

from __future__ import annotations

import numpy as np

_NEAREST = 4  # keyframes before it, in time, that each is compared with
_DRAWN = 4  # keyframes that all are compared with, whatever lies between


def compared(count: int) -> list[list[int]]:
    """List for each of `count` keyframes in time's order those that it is compared with, each pair once.

    Up to five keyframes are compared pair by pair. Of more, each is compared with the four before it and with four that are
    drawn once for all.
    """
    drawn = _drawn(count)
    partners = []
    for place in range(count):
        far = [other for other in drawn if abs(other - place) > _NEAREST and (other < place or place not in drawn)]
        partners.append([*range(max(place - _NEAREST, 0), place), *far])
    return partners


def kept(place: int, count: int) -> set[int]:
    """List the keyframes that later pairs still need when the one at `place` is done: eight at most."""
    return {*range(max(place + 1 - _NEAREST, 0), place + 1), *_drawn(count)}


def _drawn(count: int) -> list[int]:
    """Draw the keyframes that all others are compared with; none where the nearest are all there are."""
    if count <= _NEAREST + 1:
        return []
    return sorted(np.random.default_rng(0).choice(count, _DRAWN, replace=False).tolist())
