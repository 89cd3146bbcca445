"""Masks that are drawn too wide, too tight or roughly are put right; good ones stay as they are."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from atlas.masks.contours import Margin, clip_margin, follow_edges, is_matte
from atlas.masks.depth import depth_of
from atlas.metrics.definitions import iou

FRAMES = 4


def disc(index: int, radius: float = 40) -> np.ndarray:
    """The true mask: a disc that moves, (160, 240) uint8 with a soft edge of a pixel."""
    y, x = np.mgrid[:160, :240]
    return (np.clip(radius - np.hypot(x - 90 - 10 * index, y - 80) + 0.5, 0, 1) * 255).astype(np.uint8)


def frame(index: int) -> np.ndarray:
    """A warm, textured disc on a cold, textured ground."""
    rng = np.random.default_rng(index)
    noise = cv2.GaussianBlur(rng.normal(0, 1, (160, 240, 3)).astype(np.float32), (0, 0), 2) * 60
    share = disc(index)[..., None] / 255
    return np.clip((np.array([170, 120, 60]) * share + np.array([60, 90, 130]) * (1 - share)) + noise, 0, 255).astype(np.uint8)


def corrected(masks: list[np.ndarray]) -> list[np.ndarray]:
    depths = [depth_of(mask) for mask in masks]
    margin = clip_margin(zip(map(frame, range(FRAMES)), depths, strict=True))
    return [follow_edges(frame(index), depth, margin) > 0 for index, depth in enumerate(depths)]


def worst(masks: list[np.ndarray]) -> float:
    return min(iou(mask, disc(index)) for index, mask in enumerate(masks))


@pytest.mark.parametrize("wrong", [-3, 3])
def test_a_margin_is_found_and_taken_back(wrong: int) -> None:
    masks = [disc(index, 40 + wrong) for index in range(FRAMES)]
    depths = [depth_of(mask) for mask in masks]
    margin = clip_margin(zip(map(frame, range(FRAMES)), depths, strict=True))
    assert abs(margin.offset - wrong) < 0.5
    assert worst(masks) < 0.87
    assert worst(corrected(masks)) > 0.97


def test_good_masks_stay() -> None:
    masks = [disc(index) for index in range(FRAMES)]
    for index, depth in enumerate(map(depth_of, masks)):
        margin = clip_margin([(frame(index), depth)])
        assert abs(margin.offset) < 0.5
        np.testing.assert_allclose(follow_edges(frame(index), depth, margin), depth, atol=0.05)


@pytest.mark.parametrize(("wobbles", "gain"), [(3, 0.005), (4, 0.02), (5, 0.02)])
def test_rough_masks_come_nearer(wobbles: float, gain: float) -> None:
    rng = np.random.default_rng(0)
    masks = []
    for index in range(FRAMES):
        wobble = cv2.resize(rng.normal(0, wobbles, (8, 12)).astype(np.float32), (240, 160), interpolation=cv2.INTER_CUBIC)
        masks.append(np.where(depth_of(disc(index)) + wobble > 0, np.uint8(255), np.uint8(0)))
    # The nearer they are already, the less: good masks, whose edges blur and hair may seem to move, stay as they are.
    assert worst(corrected(masks)) > worst(masks) + gain


def test_an_even_picture_moves_nothing() -> None:
    depth = depth_of(disc(0))
    grey = np.full((160, 240, 3), 128, np.uint8)
    assert clip_margin([(grey, depth)]) == Margin()
    np.testing.assert_array_equal(follow_edges(grey, depth, Margin()), depth)


@pytest.mark.parametrize("mask", [np.zeros((20, 30), np.uint8), np.full((20, 30), 255, np.uint8)])
def test_without_an_outline(mask: np.ndarray) -> None:
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)
    assert clip_margin([(image, depth_of(mask))]) == Margin()
    np.testing.assert_array_equal(follow_edges(image, depth_of(mask), Margin(2.0, 0.5)), depth_of(mask))


def test_an_outline_along_the_border_stays_there() -> None:
    mask = np.zeros((160, 240), np.uint8)
    mask[:, :60] = 255
    image = np.repeat(np.where(mask, 200, 60).astype(np.uint8)[..., None], 3, 2)
    depth = depth_of(mask)
    moved = follow_edges(image, depth, clip_margin([(image, depth)]))
    np.testing.assert_array_equal(moved > 0, mask > 0)


def test_a_thin_object_does_not_vanish() -> None:
    mask = np.zeros((160, 240), np.uint8)
    mask[78:82, 40:200] = 255
    image = np.repeat(np.where(mask, 200, 60).astype(np.uint8)[..., None], 3, 2)
    assert iou(follow_edges(image, depth_of(mask), Margin()) > 0, mask) > 0.8


def test_mattes_are_told_from_outlines() -> None:
    assert not is_matte(disc(0))
    assert is_matte(cv2.GaussianBlur(disc(0), (0, 0), 6))
