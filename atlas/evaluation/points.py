"""Marked points in an evaluation: a clip's points of a CSV file, followed through a fit's mapping, as results and as text."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any

from atlas.clip.clip import Clip
from atlas.maps.maps import Maps
from atlas.metrics.marked import MarkedPoints, read_points
from atlas.metrics.points import follow_points, score_points


def points_of(clip: Clip, path: Path) -> MarkedPoints:
    """Read the marked points of a clip from a CSV file; UserError as `read_points` raises it.

    The clip goes there by its own name, or by that of its source: the video, the folder of frames, or the folder around it.
    """
    source = PurePath(clip.source.path)
    names = dict.fromkeys((clip.name, source.stem, source.name, source.parent.name))
    start = clip.source.start
    return read_points(path, [*filter(None, names)], clip.source.indices or range(start, start + clip.frames))


def measure_points(maps: Maps, marked: MarkedPoints) -> dict[str, Any]:
    """Measure how far the mapping takes marked points from their marks, all together and those of each layer.

    Returns file, left_out (rows with frames that the clip lacks), layers, and of all points as of each layer what
    `atlas.metrics.points.PointsScore` has.
    """
    followed = follow_points(maps, marked.points)
    by_layer = {layer: [point for point in followed if point.layer == layer] for layer in maps.layers}
    layers = {layer: asdict(score_points(of_it)) for layer, of_it in by_layer.items() if of_it}
    return {"file": marked.file.name} | asdict(score_points(followed)) | {"left_out": marked.left_out, "layers": layers}
