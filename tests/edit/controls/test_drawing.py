"""Poses drawn for ControlNet: known pixels, what is missing, and that a crop is drawn as the points in it say."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from edit.controls.drawing import COLOURS, draw_poses
from edit.diffusion.crop import Crop
from tests.edit.controls.bodies import BODY

# As the format has them: one more than the number of each point, and the colours of points and limbs.
PAIRS = [[2, 3], [2, 6], [3, 4], [4, 5], [6, 7], [7, 8], [2, 9], [9, 10], [10, 11], [2, 12], [12, 13], [13, 14], [2, 1],
         [1, 15], [15, 17], [1, 16], [16, 18]]  # fmt: skip
RAINBOW = [[255, 0, 0], [255, 85, 0], [255, 170, 0], [255, 255, 0], [170, 255, 0], [85, 255, 0], [0, 255, 0], [0, 255, 85],
           [0, 255, 170], [0, 255, 255], [0, 170, 255], [0, 85, 255], [0, 0, 255], [85, 0, 255], [170, 0, 255],
           [255, 0, 255], [255, 0, 170], [255, 0, 85]]  # fmt: skip
LARGE = 3 * BODY + [128, 90]


def drawn_plainly(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """One person whose points are all there, limb by limb and pixel by pixel: inside an ellipse's outline, or not."""
    picture = np.zeros((height, width, 3), np.uint8)
    for (a, b), colour in zip(PAIRS, RAINBOW, strict=False):
        (x0, y0), (x1, y1) = points[a - 1], points[b - 1]
        middle = (int((x0 + x1) / 2), int((y0 + y1) / 2))
        half, angle = int(math.dist((x0, y0), (x1, y1)) / 2), int(math.degrees(math.atan2(y0 - y1, x0 - x1)))
        outline = cv2.ellipse2Poly(middle, (half, 4), angle, 0, 360, 1)
        inside = [[cv2.pointPolygonTest(outline, (x, y), False) >= 0 for x in range(width)] for y in range(height)]
        picture[np.array(inside)] = [int(0.6 * value) for value in colour]
    y, x = np.mgrid[:height, :width]
    for (px, py), colour in zip(points, RAINBOW, strict=True):
        picture[(x - int(px)) ** 2 + (y - int(py)) ** 2 <= 4**2] = colour
    return picture


def test_the_colours_are_those_of_the_format() -> None:
    assert [list(colour) for colour in COLOURS] == RAINBOW


def test_a_person_is_drawn_as_the_format_says() -> None:
    points = LARGE / 2
    assert np.array_equal(draw_poses(points[None], 192, 128), drawn_plainly(points, 192, 128))


def test_known_pixels() -> None:
    picture = draw_poses(LARGE[None], 384, 256)
    neck, shoulder = LARGE[1], LARGE[2]
    x, y = ((neck + shoulder) / 2).astype(int)
    assert picture[y, x].tolist() == [153, 0, 0]  # limb 0, red at six tenths
    assert picture[y - 3, x].tolist() == [153, 0, 0] and picture[y - 6, x].tolist() == [0, 0, 0]
    for point, colour in zip(LARGE.astype(int), RAINBOW, strict=True):
        assert picture[point[1], point[0]].tolist() == colour
    assert picture.dtype == np.uint8 and picture[0, 0].tolist() == [0, 0, 0]


def test_nothing_is_drawn_where_a_point_is_missing() -> None:
    holed = LARGE.copy()
    holed[4] = np.nan  # the right wrist, which one limb ends in
    picture, whole = draw_poses(holed[None], 384, 256), draw_poses(LARGE[None], 384, 256)
    x, y = ((LARGE[3] + LARGE[4]) / 2).astype(int)
    assert whole[y, x].any() and not picture[y, x].any()
    assert not picture[int(LARGE[4][1]), int(LARGE[4][0])].any()
    assert not draw_poses(np.full((1, 18, 2), np.nan), 64, 64).any() and not draw_poses(np.empty((0, 18, 2)), 64, 64).any()


def test_a_crop_is_drawn_with_the_points_in_it() -> None:
    """A box that is not enlarged shows the same pixels; one that is shows longer limbs of the same width."""
    whole = draw_poses(LARGE[None], 384, 256)
    same = Crop(64, 32, 320, 224, 256, 192)
    assert np.array_equal(draw_poses(same.moved(LARGE)[None], 256, 192), whole[same.box])
    twice = Crop(64, 64, 192, 192, 256, 256)
    moved = twice.moved(LARGE)
    assert np.allclose(moved, 2 * (LARGE - [64, 64]))
    found = draw_poses(moved[None], 256, 256)
    x, y = ((moved[1] + moved[2]) / 2).astype(int)
    column = (found[:, x] == [153, 0, 0]).all(-1)
    assert column[y] and 8 <= column.sum() <= 10  # twice 4 pixels, not twice 8


@pytest.mark.parametrize("far", [1e5, -3e6])
def test_what_lies_far_outside_is_cut_off(far: float) -> None:
    points = LARGE.copy()
    points[[2, 9]] = far
    assert draw_poses(points[None], 384, 256).shape == (384, 256, 3)
    assert not draw_poses(LARGE[None] + 1e6, 384, 256).any()
