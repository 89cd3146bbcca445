"""Who is who: the people of one frame found again in the next, by their key points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

_REACH = 0.5  # of a person's size: who is farther from where they were expected is somebody else
_NEWEST = 0.5  # what the newest step counts in a person's speed


@dataclass(frozen=True)
class Person:
    """One person over time."""

    first: int
    """Frame of their first appearance."""
    points: np.ndarray
    """(frames, points, 2) from `first` on; NaN where missing."""


class _Track:
    """A person while they are followed."""

    def __init__(self, frame: int, points: np.ndarray) -> None:
        self.seen = {frame: points}
        self.last = frame
        self._points = points.copy()
        """Where each point was seen last."""
        self._frames = np.full(len(points), frame)
        self._speed = np.zeros(2)

    def expected(self, frame: int) -> np.ndarray:  # (points, 2)
        """Where the points should be by now."""
        return self._points + (frame - self._frames)[:, None] * self._speed

    def add(self, frame: int, points: np.ndarray) -> None:
        """Follow the person to where they are now."""
        known = np.isfinite(points).all(-1)
        both = known & np.isfinite(self._points).all(-1)
        steps = (points[both] - self._points[both]) / (frame - self._frames[both])[:, None]
        share = 1.0 if len(self.seen) == 1 else _NEWEST
        self._speed = (1 - share) * self._speed + share * np.median(steps, axis=0)
        self._points[known], self._frames[known] = points[known], frame
        self.seen[frame], self.last = points, frame


def followed(
    people: Mapping[int, np.ndarray],  # frame -> (people, points, 2), NaN where missing
    patience: int,
    near: float,
) -> list[Person]:
    """Track people over time: each is matched to who stands nearest to where they are expected, all at once.

    Expected is where each key point was seen last, moved on by the person's speed (the median over points, mixed with earlier
    steps), so that two who walk through each other are told apart. The distance of two people is the mean over the key
    points that both have, relative to the larger one's size (`near` pixels at least); the sum over pairs is made least
    (Hungarian algorithm), and pairs farther apart than half of that size are two people. Who is not seen for more than
    `patience` frames is somebody new afterwards. In the order of their first appearance.
    """
    tracks: list[_Track] = []
    for frame in sorted(people):
        bodies = people[frame]
        waiting = [track for track in tracks if frame - track.last <= patience + 1]
        apart = _apart(np.array([track.expected(frame) for track in waiting]), bodies, near) if waiting else np.empty((0, 0))
        rows, columns = linear_sum_assignment(apart)
        matched = {column: row for row, column in zip(rows, columns, strict=True) if apart[row, column] < _REACH}
        for number, body in enumerate(bodies):
            if number in matched:
                waiting[matched[number]].add(frame, body)
            else:
                tracks.append(_Track(frame, body))
    return [_whole(track) for track in tracks]


def _apart(
    expected: np.ndarray,  # (tracks, points, 2)
    bodies: np.ndarray,  # (people, points, 2)
    near: float,
) -> np.ndarray:  # (tracks, people)
    """Distances of people from where tracks expect them, in sizes of the larger of both, cut off at `_REACH`."""
    distances = np.linalg.norm(bodies - expected[:, None], axis=-1)
    common = np.isfinite(distances).sum(-1)
    sizes = np.maximum(np.maximum(_sizes(expected)[:, None], _sizes(bodies)), near)
    relative = np.nansum(distances, -1) / np.maximum(common, 1) / sizes
    return np.where(common > 0, np.minimum(relative, _REACH), _REACH)


def _sizes(bodies: np.ndarray) -> np.ndarray:  # (people, points, 2) -> (people,)
    """Diagonals of the boxes around people, in pixels."""
    return np.linalg.norm(np.nanmax(bodies, 1) - np.nanmin(bodies, 1), axis=-1)


def _whole(track: _Track) -> Person:
    first = min(track.seen)
    points = np.full((track.last - first + 1, *track.seen[first].shape), np.nan)
    for frame, body in track.seen.items():
        points[frame - first] = body
    return Person(first, points)
