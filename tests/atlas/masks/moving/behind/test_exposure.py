"""Exposure that differs in tone and over the frame is made equal, and what moved in between does not count."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from atlas.masks.moving.behind.exposure import exposed_alike
from tests.atlas.masks.test_motion import texture

HEIGHT, WIDTH = 120, 160
YS, XS = np.mgrid[-0.75 : 0.75 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
GROUND = texture(41, HEIGHT, WIDTH, 20, 200)
THING = (slice(40, 90), slice(50, 90))
WAYS = {
    "tones": (np.ones_like(XS), np.full_like(XS, 9)),
    "corners": (1.1 - 0.25 * (XS**2 + YS**2), np.zeros_like(XS)),
    "glare": (np.ones_like(XS), 14 + 14 * XS),
    "all": (0.95 + 0.1 * XS - 0.1 * YS**2, 6 - 8 * YS + 5 * XS * YS),
}


def seen_by(way: str) -> np.ndarray:
    """The ground as a lens shows it that darkens it by place, and adds light."""
    gain, light = WAYS[way]
    return np.clip(GROUND * gain[..., None] + light[..., None] + 0.5, 0, 255).astype(np.uint8)


def missed(alike: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(alike.astype(np.int32) - other).max(axis=-1)


@pytest.mark.parametrize("way", WAYS)
def test_the_light_of_another_frame_is_found(way: str) -> None:
    other = seen_by(way)
    moved = GROUND.copy()
    moved[THING] = texture(42, 50, 40, 90, 255)  # not the ground, and not left out
    common = np.ones((HEIGHT, WIDTH), bool)
    common[THING[0], 50:70] = False
    errors = missed(exposed_alike(moved, other, common), other)
    beside = np.ones((HEIGHT, WIDTH), bool)
    beside[THING] = False
    assert np.percentile(errors[beside], 99) <= 3


@pytest.mark.parametrize("way", WAYS)
def test_it_is_carried_on_behind_what_stands_there(way: str) -> None:
    other, common = seen_by(way), np.ones((HEIGHT, WIDTH), bool)
    common[THING] = False
    assert missed(exposed_alike(GROUND, other, common), other)[THING].max() <= 3


def test_what_only_one_side_shows_does_not_run_away() -> None:
    other, common = seen_by("tones"), np.zeros((HEIGHT, WIDTH), bool)
    common[:, :60] = True
    noisy = np.clip(other + np.random.default_rng(1).normal(0, 3, other.shape), 0, 255).astype(np.uint8)
    assert np.median(missed(exposed_alike(GROUND, noisy, common), other)) <= 4
    assert missed(exposed_alike(GROUND, noisy, common), other).max() <= 25


def test_few_tones_are_enough() -> None:
    plain = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    brighter = np.full_like(plain, 100)
    assert cv2.absdiff(exposed_alike(plain, brighter, np.ones((HEIGHT, WIDTH), bool)), brighter).max() <= 1
