"""Cast shadows are no part of what casts them; tyres, dark trousers and dark bodies are, before any road."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.atlas.masks.moving.test_kinds import FIGURE, found_in
from tests.atlas.masks.test_motion import overlap, texture

HEIGHT, WIDTH, FRAMES = 120, 160, 12
YS, XS = np.mgrid[:HEIGHT, :WIDTH]
PLAIN = cv2.GaussianBlur(texture(21, HEIGHT, 240, 92, 112), (0, 0), 2.0)
BLACK = (26, 26, 28)
DARK = texture(33, 30, 56, 18, 40)


def cobbles() -> np.ndarray:
    noise = cv2.GaussianBlur(np.random.default_rng(22).uniform(0, 1, (HEIGHT, 240)).astype(np.float32), (0, 0), 0.9)
    grey = 50 + 150 * (noise - noise.min()) / (noise.max() - noise.min())
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


ROADS = {"plain": PLAIN, "textured": cobbles()}


def car(road: np.ndarray, index: int, body: np.ndarray, shade: str) -> tuple[np.ndarray, np.ndarray]:
    """A box on black tyres crosses a panning view; its shadow is `soft` and under it, `long` with hard edges, or `no`."""
    frame, mask, left = road[:, index : index + WIDTH].copy(), np.zeros((HEIGHT, WIDTH), bool), 6 + 5 * index
    if shade != "no":
        under = ((XS - left - 30) / 36) ** 2 + ((YS - 77) / 7) ** 2 < 1
        cast = (np.abs(XS - left - 28 - 0.5 * (YS - 72)) < 20) & (YS > 66) & (YS < 104)
        dark = cv2.GaussianBlur(
            (under if shade == "soft" else cast).astype(np.float32), (0, 0), 3.0 if shade == "soft" else 0.6
        )
        frame = (frame * (1 - 0.7 * dark[..., None])).astype(np.uint8)
    place = (slice(40, 70), slice(left, min(left + 56, WIDTH)))
    frame[place], mask[place] = body[:30, : place[1].stop - left], True
    for middle in (left + 12, left + 44):
        distance = (XS - middle) ** 2 + (YS - 70) ** 2
        frame[distance < 64], frame[distance < 12] = BLACK, (170, 170, 175)
        mask |= distance < 64
    return frame, mask


def walker(road: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Somebody in black trousers walks along a road."""
    frame, mask, left = road[:, index : index + WIDTH].copy(), np.zeros((HEIGHT, WIDTH), bool), 20 + 5 * index
    frame[20:60, left : left + 24], mask[20:60, left : left + 24] = FIGURE[:40, :24], True
    for side in (left + 2, left + 13):
        frame[60:100, side : side + 9], mask[60:100, side : side + 9] = BLACK, True
    return frame, mask


@pytest.mark.parametrize(("road", "shade", "least"), [("plain", "soft", 0.91), ("textured", "long", 0.88)])
def test_a_shadow_is_not_the_object(road: str, shade: str, least: float) -> None:
    masks = found_in(lambda index: car(ROADS[road], index, FIGURE, shade), FRAMES)
    assert np.mean([overlap(mask, car(ROADS[road], index, FIGURE, shade)[1]) for index, mask in enumerate(masks)]) > least


@pytest.mark.parametrize("road", ROADS)
def test_tyres_and_a_dark_body_stay(road: str) -> None:
    masks = found_in(lambda index: car(ROADS[road], index, DARK, "no"), FRAMES)
    assert min(overlap(mask, car(ROADS[road], index, DARK, "no")[1]) for index, mask in enumerate(masks)) > 0.95


@pytest.mark.parametrize("road", ROADS)
def test_dark_trousers_stay(road: str) -> None:
    masks = found_in(lambda index: walker(ROADS[road], index), FRAMES)
    assert min(np.mean(mask[walker(ROADS[road], index)[1]] > 127) for index, mask in enumerate(masks)) > 0.97
    assert np.mean([overlap(mask, walker(ROADS[road], index)[1]) for index, mask in enumerate(masks)]) > 0.95


def test_a_dark_body_stays_above_its_shadow() -> None:
    masks = found_in(lambda index: car(PLAIN, index, DARK, "soft"), FRAMES)
    for index, mask in enumerate(masks):
        known = car(PLAIN, index, DARK, "soft")[1]
        assert np.mean(mask[known] > 127) > 0.94 and overlap(mask, known) > 0.91
