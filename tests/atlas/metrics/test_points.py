"""Marked points followed through mappings whose errors are known."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.geometry.warp import bilinear
from atlas.maps.maps import Maps, MapsWriter
from atlas.metrics.mapping import find_places
from atlas.metrics.marked import MarkedPoint
from atlas.metrics.points import SIDE, FollowedPoint, follow_points, score_points
from atlas.sample.scene import Sample


def true_marks(truth: Maps, layer: str, first: int, second: int, count: int = 40) -> list[MarkedPoint]:
    """Points of a layer where both frames truly show it, away from its outline."""
    size = np.array([truth.width, truth.height])
    rows, columns = np.nonzero(truth.opacity(layer, first) > 0.9)
    pixels = np.stack([columns, rows], -1)[np.random.default_rng(0).permutation(len(rows))].astype(np.float32)
    uv = bilinear(truth.uv(layer, first), pixels)
    found = find_places(truth, layer, second, uv)
    met = np.linalg.norm(bilinear(truth.uv(layer, second), found) - uv, axis=-1) < 1e-4
    shown = met & (bilinear(truth.opacity(layer, second), found) > 0.9) & (found > 4).all(-1) & (found < size - 5).all(-1)
    a, b = ((places[shown][:count] + 0.5) / size for places in (pixels, found))
    return [
        MarkedPoint(row, first, tuple(one), second, tuple(other))
        for row, (one, other) in enumerate(zip(a.tolist(), b.tolist(), strict=True))
    ]


def test_the_truth_meets_every_mark(sample_clip_two: Clip) -> None:
    truth = Maps(sample_clip_two.fit_folder("truth"))
    marks = {layer: true_marks(truth, layer, 1, 9) for layer in truth.layers}
    assert len(marks["background"]) == 40
    followed = follow_points(truth, [mark for of_it in marks.values() for mark in of_it])
    assert [point.layer for point in followed] == [layer for layer, of_it in marks.items() for _ in of_it]
    assert max(point.error for point in followed) < 0.02
    score = score_points(followed)
    assert score.d_avg == 100 and score.points == len(followed)


def test_a_mapping_that_slides_is_off_by_what_it_slid(sample_clip: Clip, sample: Sample, tmp_path: Path) -> None:
    """One frame's mapping moved by whole pixels: columns right, rows down; on a picture of 256 x 256 that is more."""
    truth = Maps(sample_clip.fit_folder("truth"))
    marks = true_marks(truth, "background", 2, 10)
    shutil.copytree(truth.folder / "layers", tmp_path / "layers")
    for x, y in ((3, 0), (0, 2), (-1, 1)):
        shutil.rmtree(tmp_path / "maps", ignore_errors=True)
        with MapsWriter(tmp_path, truth.layers, truth.frames, truth.height, truth.width) as writer:
            for i in range(truth.frames):
                uv = {layer: truth.uv(layer, i) for layer in truth.layers}
                if i == 10:
                    uv["background"] = np.roll(uv["background"], (y, x), (0, 1))
                writer.append_frame(uv, {layer: truth.opacity(layer, i) for layer in truth.layers})
        expected = np.hypot(x * SIDE / truth.width, y * SIDE / truth.height)
        errors = [point.error for point in follow_points(Maps(tmp_path), marks)]
        assert np.median(errors) == pytest.approx(expected, abs=0.02), (x, y)
        assert np.percentile(errors, 90) == pytest.approx(expected, abs=0.1)


def test_a_layer_that_the_other_frame_does_not_show_is_looked_for_everywhere(sample_clip: Clip, tmp_path: Path) -> None:
    truth = Maps(sample_clip.fit_folder("truth"))
    marks = true_marks(truth, "foreground", 2, 4)
    shutil.copytree(truth.folder / "layers", tmp_path / "layers")
    with MapsWriter(tmp_path, truth.layers, truth.frames, truth.height, truth.width) as writer:
        for i in range(truth.frames):
            seen = truth.opacity("foreground", i) * (i != 4)
            writer.append_frame(
                {layer: truth.uv(layer, i) for layer in truth.layers}, {"foreground": seen, "background": 1 - seen}
            )
    assert max(point.error for point in follow_points(Maps(tmp_path), marks)) < 0.02


def test_d_avg_is_the_mean_share_under_the_thresholds() -> None:
    marks = [MarkedPoint(row, row, (0.5, 0.5), 9, (0.5, 0.5)) for row in range(4)]
    errors = (0.5, 3.0, 16.0, 5.0)  # nearer than 1, 2, 4, 8, 16: 1, 1, 2, 3, 3 of four
    score = score_points([FollowedPoint(mark, "swan", error) for mark, error in zip(marks, errors, strict=True)])
    assert score.d_avg == pytest.approx(100 * (1 + 1 + 2 + 3 + 3) / 20)
    assert (score.worst, score.row, score.layer, score.frame_a, score.frame_b) == (16.0, 2, "swan", 2, 9)
    assert score.median == 4.0
