"""Points followed through the atlas against points that people marked: TAP-Vid's d_avg (Doersch et al. 2022).

    place = inverse(frame b, layer)[uv(frame a, layer)[marked place]],   layer: the one whose opacity is highest there
    d_avg = mean over thresholds 1, 2, 4, 8, 16 of the share of points nearer to the mark than that, of 100

Distances are taken on a picture scaled to 256 x 256, whatever its shape, as TAP-Vid takes them. Mapping and optical flow may
agree from frame to frame and the mapping slide all the same; marks far apart in time see that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlas.geometry.warp import bilinear
from atlas.maps.maps import Maps
from atlas.metrics.mapping import find_places
from atlas.metrics.marked import MarkedPoint

THRESHOLDS = (1, 2, 4, 8, 16)
"""Of the picture scaled to SIDE x SIDE."""
SIDE = 256


@dataclass(frozen=True)
class FollowedPoint:
    """A marked point and how far from its mark the mapping takes it."""

    mark: MarkedPoint
    layer: str
    """Through whose atlas it was followed."""
    error: float
    """Pixels of a picture of SIDE x SIDE."""


@dataclass(frozen=True)
class PointsScore:
    """What several followed points amount to."""

    d_avg: float
    """Mean over THRESHOLDS of the share that is nearer than that, of 100."""
    points: int
    median: float
    """Of the errors, pixels of a picture of SIDE x SIDE."""
    worst: float
    """The largest error, and whose it is."""
    row: int
    layer: str
    frame_a: int
    frame_b: int


def follow_points(maps: Maps, points: Sequence[MarkedPoint]) -> list[FollowedPoint]:
    """Follow marked points through the atlas of the layer that is seen there, and measure how far each is from its mark.

    Each frame's maps are read once for all points that begin there and once for all that end there: memory is that of one
    frame's maps, time grows with the frames that are marked.
    """
    size = np.array([maps.width, maps.height], np.float32)
    begin = np.array([point.place_a for point in points], np.float32).reshape(-1, 2) * size - 0.5
    marked = np.array([point.place_b for point in points], np.float32).reshape(-1, 2)
    uv, layers = np.zeros_like(begin), np.zeros(len(points), int)
    for frame, chosen in _grouped([point.frame_a for point in points]):
        layers[chosen] = np.argmax([bilinear(maps.opacity(layer, frame), begin[chosen]) for layer in maps.layers], 0)
        for number in set(layers[chosen].tolist()):
            of_it = chosen[layers[chosen] == number]
            uv[of_it] = bilinear(maps.uv(maps.layers[number], frame), begin[of_it])
    found = np.zeros_like(begin)
    for frame, chosen in _grouped([point.frame_b for point in points]):
        for number in set(layers[chosen].tolist()):
            of_it = chosen[layers[chosen] == number]
            found[of_it] = find_places(maps, maps.layers[number], frame, uv[of_it])
    errors = np.linalg.norm(((found + 0.5) / size - marked) * SIDE, axis=-1)
    names = [maps.layers[number] for number in layers]
    return [FollowedPoint(*one) for one in zip(points, names, errors.tolist(), strict=True)]


def score_points(followed: Sequence[FollowedPoint]) -> PointsScore:
    """Score followed points by d_avg, and find the one that is farthest off. There must be one at least."""
    errors = np.array([point.error for point in followed])
    d_avg = 100 * float(np.mean([(errors < threshold).mean() for threshold in THRESHOLDS]))
    worst = followed[int(errors.argmax())]
    mark = worst.mark
    return PointsScore(
        d_avg, len(followed), float(np.median(errors)), worst.error, mark.row, worst.layer, mark.frame_a, mark.frame_b
    )


def _grouped(frames: Sequence[int]) -> list[tuple[int, np.ndarray]]:
    """Each frame with the numbers of the points that have it."""
    groups: dict[int, list[int]] = defaultdict(list)
    for number, frame in enumerate(frames):
        groups[frame].append(number)
    return [(frame, np.array(numbers)) for frame, numbers in groups.items()]
