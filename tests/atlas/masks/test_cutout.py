"""Masks drawn to the edges of the picture, by what their colours say and no further than is open."""

from __future__ import annotations

import numpy as np

from atlas.masks.cutout import refine_mask
from tests.atlas.masks.test_motion import overlap, texture

HEIGHT, WIDTH = 80, 100
KNOWN = np.zeros((HEIGHT, WIDTH), bool)
KNOWN[20:60, 30:70] = True
ROOF = (slice(20, 24), slice(34, 66))


def picture() -> np.ndarray:
    """A red thing before green ground; its upper edge has the ground's colour."""
    frame = texture(51, HEIGHT, WIDTH, 60, 90) + np.array([0, 90, 0], np.uint8)
    thing = texture(52, HEIGHT, WIDTH, 60, 90) + np.array([120, 0, 0], np.uint8)
    image = np.where(KNOWN[..., None], thing, frame)
    image[ROOF] = frame[ROOF]
    return image


def test_an_edge_goes_where_the_colours_change() -> None:
    rough = np.zeros_like(KNOWN)
    rough[24:62, 28:68] = True
    without_roof = KNOWN.copy()
    without_roof[ROOF] = False
    assert overlap(255 * refine_mask(picture(), rough, 4), without_roof) > 0.97


def test_what_is_settled_stays_whatever_its_colour() -> None:
    settled = np.zeros_like(KNOWN)
    settled[ROOF] = True
    assert not refine_mask(picture(), KNOWN, 4)[ROOF].any()
    assert refine_mask(picture(), KNOWN, 4, settled=settled)[ROOF].all()
    without_side = KNOWN.copy()
    without_side[:, 67:] = False
    side = KNOWN & ~without_side
    assert refine_mask(picture(), without_side, 4)[side].mean() > 0.8
    assert not refine_mask(picture(), without_side, 4, settled=side)[side].any()


def test_nothing_changes_where_there_is_nothing_to_decide_by() -> None:
    tiny = np.zeros_like(KNOWN)
    tiny[40:44, 40:44] = True
    np.testing.assert_array_equal(refine_mask(picture(), tiny, 4), tiny)
