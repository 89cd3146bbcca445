"""Plain surfaces show no motion, nor do edges along themselves; between parts of an object they are told from the rest."""

from __future__ import annotations

import numpy as np

from atlas.masks.moving.plain import hollows, shows_motion
from tests.atlas.masks.test_motion import texture

HEIGHT, WIDTH = 100, 140
ARCH = np.zeros((HEIGHT, WIDTH), bool)  # two wheels, a body above, and between the wheels nothing was found
ARCH[20:50, 30:110] = ARCH[50:80, 30:55] = ARCH[50:80, 85:110] = True
BETWEEN = (slice(54, 70), slice(59, 81))


def around(inside: np.ndarray | int) -> np.ndarray:
    image = texture(61, HEIGHT, WIDTH, 20, 200)
    image[50:80, 55:85] = inside
    return image


def test_texture_shows_motion_and_what_is_even_does_not() -> None:
    shown = shows_motion(around(120))
    assert shown[:45].mean() > 0.95 and not shown[60:70, 62:78].any()


def test_an_edge_along_itself_shows_none() -> None:
    stripes = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    stripes[::10] = stripes[1::10] = stripes[2::10] = 200
    assert not shows_motion(stripes).any() and not shows_motion(stripes.transpose(1, 0, 2)).any()
    corners = stripes.copy()
    corners[:, ::10] = 100
    assert shows_motion(corners)[10:-10, 10:-10].mean() > 0.9


def test_plain_places_between_parts_are_hollows() -> None:
    found = hollows(ARCH, around(120))
    assert found[BETWEEN].all()
    assert not found[ARCH].any() and not found[:18].any() and not found[:, :28].any() and not found[82:].any()


def test_texture_between_parts_is_none() -> None:
    assert hollows(ARCH, around(texture(62, 30, 30, 20, 200)))[BETWEEN].mean() < 0.1


def test_nor_is_what_lies_far_from_other_parts() -> None:
    plain = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    legs = np.zeros((HEIGHT, WIDTH), bool)
    legs[20:80, 5:11] = legs[20:80, 129:135] = True
    assert not hollows(legs, plain)[:, 30:110].any()
    assert not hollows(np.zeros_like(legs), plain).any()
