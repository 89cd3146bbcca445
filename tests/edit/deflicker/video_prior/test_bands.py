"""Bands of low frequencies: they add up, and what has no weight is not in them."""

from __future__ import annotations

import cv2
import numpy as np

from edit.deflicker.video_prior.bands import blurred, low_bands

IMAGE = np.random.default_rng(0).standard_normal((20, 30, 3)).astype(np.float32)
ONE = np.ones((20, 30), np.float32)


def test_blurred_is_a_gaussian() -> None:
    expected = cv2.GaussianBlur(IMAGE, (0, 0), 3.0, borderType=cv2.BORDER_REPLICATE)
    np.testing.assert_allclose(blurred(IMAGE, ONE, 3.0), expected, atol=1e-6)


def test_bands_add_up_to_the_blurred_image() -> None:
    bands = low_bands(IMAGE, ONE, 2.0)
    np.testing.assert_allclose(bands.sum(0), blurred(IMAGE, ONE, 2.0), atol=1e-6)
    np.testing.assert_allclose(bands[0], np.broadcast_to(IMAGE.mean((0, 1)), IMAGE.shape), atol=1e-6)


def test_a_flat_image_is_all_level() -> None:
    bands = low_bands(np.full_like(IMAGE, 0.3), ONE, 2.0)
    np.testing.assert_allclose(bands[0], 0.3, atol=1e-5)
    assert np.abs(bands[1:]).max() < 1e-5


def test_what_has_no_weight_is_nowhere() -> None:
    left = ONE.copy()
    left[:, 15:] = 0
    other = IMAGE.copy()
    other[:, 15:] = 100
    np.testing.assert_array_equal(low_bands(IMAGE, left, 2.0), low_bands(other, left, 2.0))
    assert np.isfinite(low_bands(IMAGE, 0 * ONE, 2.0)).all()
