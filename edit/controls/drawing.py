"""Drawing of poses as the ControlNets for them were trained on: OpenPose's sticks and dots on black."""

from __future__ import annotations

import colorsys
import math

import cv2
import numpy as np

# Pairs of BODY_18's points, in the order in which they are drawn: arms, legs, neck, face.
_LIMBS = ((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
          (1, 0), (0, 14), (14, 16), (0, 15), (15, 17))  # fmt: skip
COLOURS = [tuple(round(255 * value) for value in colorsys.hsv_to_rgb(number / 18, 1, 1)) for number in range(18)]
"""Of each point, RGB: once around the circle of hues. Limb i has that of point i, darker."""
_STICK = 4  # pixels: half the width of a limb, whatever the picture's size
_DOT = 4  # pixels: the radius of a point
_DARKER = 0.6


def draw_poses(
    people: np.ndarray,  # (people, 18, 2) pixels of the picture from its upper left corner, NaN where missing
    height: int,
    width: int,
) -> np.ndarray:  # (height, width, 3) uint8
    """Draw people as OpenPose does for ControlNet 1.1: 17 limbs as ellipses, 18 key points as discs, one by one.

    A limb is drawn where both of its points are there. What lies outside of the picture is cut off.
    """
    picture = np.zeros((height, width, 3), np.uint8)
    for points in people:
        for (start, end), colour in zip(_LIMBS, COLOURS, strict=False):
            if np.isfinite(points[[start, end]]).all():
                _draw_limb(picture, points[start], points[end], [int(value * _DARKER) for value in colour])
        for point, colour in zip(points, COLOURS, strict=True):
            if np.isfinite(point).all():
                cv2.circle(picture, _pixel(point), _DOT, colour, thickness=-1)
    return picture


def _draw_limb(picture: np.ndarray, start: np.ndarray, end: np.ndarray, colour: list[int]) -> None:
    across, down = start - end
    axes = (int(math.hypot(across, down) / 2), _STICK)
    outline = cv2.ellipse2Poly(_pixel((start + end) / 2), axes, int(math.degrees(math.atan2(down, across))), 0, 360, 1)
    cv2.fillConvexPoly(picture, outline, colour)


def _pixel(point: np.ndarray) -> tuple[int, int]:
    return math.floor(point[0]), math.floor(point[1])
