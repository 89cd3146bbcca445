"""How an edit carries over to left-over detail: the slope of edited against reference colours."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from atlas.rendering.transfer import LIMITS, transferred


@pytest.fixture
def texture() -> np.ndarray:
    """A busy texture, (96, 96, 3) float32 within 0.1 and 0.9."""
    noise = cv2.GaussianBlur(np.random.default_rng(0).normal(size=(96, 96, 3)), (0, 0), 1.5)
    return (0.5 + np.clip(0.2 * noise / noise.std(), -0.4, 0.4)).astype(np.float32)


def test_no_change_no_gain(texture: np.ndarray) -> None:
    assert (transferred(texture, texture, np.ones((96, 96), np.float32))[0] == 1).all()


def test_a_recolour_multiplies_what_is_left_over_by_its_slope(texture: np.ndarray) -> None:
    slope = np.array([1.0, 0.55, 0.1], np.float32)
    gain = transferred(texture * slope, texture, np.ones((96, 96), np.float32))[0]
    assert np.abs(np.median(gain, (0, 1)) - slope).max() < 0.1
    assert np.abs(gain - slope).max() < 0.3


def test_a_negative_turns_what_is_left_over_around(texture: np.ndarray) -> None:
    gain = transferred(1 - texture, texture, np.ones((96, 96), np.float32))[0]
    assert np.median(gain) < -0.9 and gain.min() >= LIMITS[0]


def test_a_new_texture_drops_what_is_left_over(texture: np.ndarray) -> None:
    other = np.ascontiguousarray(texture[::-1, ::-1, [1, 2, 0]])
    gain = transferred(other, texture, np.ones((96, 96), np.float32))[0]
    assert np.abs(np.median(gain)) < 0.15


def test_flat_colours_change_by_their_ratio() -> None:
    old, new = np.full((40, 40, 3), 0.5, np.float32), np.full((40, 40, 3), 0.25, np.float32)
    gain = transferred(new, old, np.ones((40, 40), np.float32))[0]
    np.testing.assert_allclose(gain, (0.25 + 0.04) / (0.5 + 0.04), atol=0.02)


def test_what_is_not_covered_or_not_changed_keeps_a_gain_of_one(texture: np.ndarray) -> None:
    coverage = np.ones((96, 96), np.float32)
    coverage[:, :30] = 0
    gain = transferred(texture * np.float32(0.4), texture, coverage)[0]
    assert (gain[:, :30] == 1).all() and np.median(gain[:, 40:]) < 0.5
    edited = texture.copy()
    edited[20:50, 20:50] *= np.float32(0.4)
    gain = transferred(edited, texture, np.ones((96, 96), np.float32))[0]
    outside = np.ones((96, 96), bool)
    outside[20:50, 20:50] = False
    assert (gain[outside] == 1).all()
    assert np.median(gain[25:45, 25:45]) == pytest.approx(0.4, abs=0.1)


def test_gain_is_finite_in_the_dark(texture: np.ndarray) -> None:
    black = np.zeros_like(texture)
    for edited, reference in ((texture, black), (black, texture)):
        gain = transferred(edited, reference, np.ones((96, 96), np.float32))[0]
        assert np.isfinite(gain).all() and gain.min() >= LIMITS[0] and gain.max() <= LIMITS[1]


def test_a_curve_is_a_map_of_the_old_colours_and_a_new_texture_is_not(texture: np.ndarray) -> None:
    coverage = np.ones((96, 96), np.float32)
    gain, mapped = transferred(np.sqrt(texture), texture, coverage)
    assert np.median(mapped) > 0.95
    assert np.abs(np.median(gain) - 0.5 / np.sqrt(0.5)) < 0.1
    other = np.ascontiguousarray(texture[::-1, ::-1, [1, 2, 0]])
    assert np.median(transferred(other, texture, coverage)[1]) < 0.1
    assert not transferred(texture, texture, coverage)[1].any()


def test_flat_parts_follow_the_curve_of_the_whole(texture: np.ndarray) -> None:
    texture[30:70, 30:70] = 0.4
    gain = transferred(np.sqrt(texture), texture, np.ones((96, 96), np.float32))[0]
    assert np.median(gain[45:55, 45:55]) == pytest.approx(0.5 / np.sqrt(0.4), abs=0.12)
