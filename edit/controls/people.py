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

    def size(self) -> float:
        """Diagonal of the box around the points, in pixels."""
        return _size(self._points)


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
        apart = np.array([[_apart(track, frame, body, near) for body in bodies] for track in waiting])
        rows, columns = linear_sum_assignment(apart) if apart.size else ([], [])
        matched = {column: row for row, column in zip(rows, columns, strict=True) if apart[row, column] < _REACH}
        for number, body in enumerate(bodies):
            if number in matched:
                waiting[matched[number]].add(frame, body)
            else:
                tracks.append(_Track(frame, body))
    return [_whole(track) for track in tracks]


def _apart(track: _Track, frame: int, body: np.ndarray, near: float) -> float:
    """Distance of a person from where a track expects them, in sizes of the larger one, cut off at `_REACH`."""
    distances = np.linalg.norm(body - track.expected(frame), axis=-1)
    known = np.isfinite(distances)
    if not known.any():
        return _REACH
    return min(float(distances[known].mean()) / max(track.size(), _size(body), near), _REACH)


def _size(points: np.ndarray) -> float:
    return float(np.linalg.norm(np.nanmax(points, axis=0) - np.nanmin(points, axis=0)))


def _whole(track: _Track) -> Person:
    first = min(track.seen)
    points = np.full((track.last - first + 1, *track.seen[first].shape), np.nan)
    for frame, body in track.seen.items():
        points[frame - first] = body
    return Person(first, points)
