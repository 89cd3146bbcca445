"""Steady crops have one size, hold the layer in every frame, and move smoothly where it does."""

from __future__ import annotations

import numpy as np

from edit.diffusion.crop import MARGIN
from edit.diffusion.steady_crops import steady_crops, whole_crop


def disc(height: int, width: int, x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width] + 0.5
    return (np.hypot(columns - x, rows - y) < radius).astype(np.float32)


def test_all_have_one_size_and_hold_the_layer_with_its_margin() -> None:
    random = np.random.default_rng(0)
    moves = [(60 + 4 * t + random.normal(0, 1.5), 80 + random.normal(0, 1.5), 22 + 3 * np.sin(t)) for t in range(30)]
    opacities = [disc(200, 320, *move) for move in moves]
    crops = steady_crops(iter(opacities), 64)
    assert len({(c.bottom - c.top, c.right - c.left, c.height, c.width) for c in crops}) == 1
    for crop, opacity in zip(crops, opacities, strict=True):
        rows, columns = np.flatnonzero(opacity.any(1)), np.flatnonzero(opacity.any(0))
        assert crop.top <= max(rows[0] - MARGIN, 0) and crop.bottom >= min(rows[-1] + 1 + MARGIN, 200)
        assert crop.left <= max(columns[0] - MARGIN, 0) and crop.right >= min(columns[-1] + 1 + MARGIN, 320)
        assert crop.top >= 0 and crop.bottom <= 200 and crop.left >= 0 and crop.right <= 320
    trembling = np.diff([move[0] for move in moves], 2).std()
    assert np.diff([crop.left for crop in crops], 2).std() < trembling


def test_a_layer_that_moves_evenly_is_followed_evenly() -> None:
    crops = steady_crops((disc(200, 400, 100 + 6 * t, 100, 20) for t in range(12)), 64)
    assert set(np.diff([crop.left for crop in crops])) == {6} and {crop.top for crop in crops} == {crops[0].top}


def test_a_layer_that_fills_the_frame_has_the_whole_frame() -> None:
    crops = steady_crops((np.ones((90, 160), np.float32) for _ in range(3)), 64)
    assert crops == [whole_crop(90, 160, 64)] * 3 and (crops[0].height, crops[0].width) == (64, 128)


def test_frames_without_the_layer_have_the_crop_of_those_around_them() -> None:
    opacities = [disc(200, 400, 100 + 6 * t, 100, 20) * (t not in (4, 5)) for t in range(12)]
    assert steady_crops(iter(opacities), 64) == steady_crops((disc(200, 400, 100 + 6 * t, 100, 20) for t in range(12)), 64)
    assert steady_crops((np.zeros((90, 160), np.float32) for _ in range(2)), 64) == [whole_crop(90, 160, 64)] * 2
