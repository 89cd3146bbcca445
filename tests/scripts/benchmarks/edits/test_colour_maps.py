"""The colour maps by known answers: what each does to a colour, and which names are taken."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from atlas.errors import UserError
from scripts.benchmarks.edits.colour_maps import COLOUR_MAPS, named_maps


def test_white_becomes_orange() -> None:
    np.testing.assert_allclose(COLOUR_MAPS["orange"](np.ones(3)), [1, 0.55, 0.1], atol=1e-6)
    np.testing.assert_allclose(COLOUR_MAPS["rotate"](np.array([0.1, 0.2, 0.3])), [0.3, 0.1, 0.2])


def test_hue_is_half_a_turn_of_hsv() -> None:
    for colour in np.random.default_rng(0).uniform(0, 1, (20, 3)):
        hue, saturation, value = colorsys.rgb_to_hsv(*colour)
        np.testing.assert_allclose(COLOUR_MAPS["hue"](colour), colorsys.hsv_to_rgb((hue + 0.5) % 1, saturation, value))


def test_paint_tints_what_is_even_and_takes_grain_away() -> None:
    even = np.full((24, 24, 3), 0.5, np.float32)
    np.testing.assert_allclose(COLOUR_MAPS["paint"](even), np.broadcast_to([0.6, 0.5, 0.4], even.shape), atol=1e-5)
    grain = np.random.default_rng(0).normal(0.5, 0.03, even.shape).astype(np.float32)
    assert COLOUR_MAPS["paint"](grain)[6:-6, 6:-6].std((0, 1)).max() < grain.std() / 2
    assert COLOUR_MAPS["paint"](np.ones_like(even)).max() == 1, "it stays a colour"


def test_poster_has_five_steps() -> None:
    np.testing.assert_allclose(COLOUR_MAPS["poster"](np.array([0.1, 0.3, 0.9])), [0, 0.25, 1])


def test_names() -> None:
    assert named_maps("hue") == ["hue"]
    assert named_maps(" orange,invert, orange ,") == ["orange", "invert"]
    for wrong in ("", ",", "pink", "orange pink"):
        with pytest.raises(UserError, match="choose from orange, invert, rotate, hue, paint, poster, separated by commas"):
            named_maps(wrong)
