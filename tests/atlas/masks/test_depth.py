"""Depth inside a mask: known distances, and soft edges that come back as they were."""

from __future__ import annotations

import numpy as np

from atlas.masks.depth import EDGE, REACH, background_weight, depth_of, object_weight, pack_depth, unpack_depth


def half_plane() -> np.ndarray:
    mask = np.zeros((20, 50), np.uint8)
    mask[:, :25] = 255
    return mask


def test_depth_of_a_half_plane() -> None:
    depth = depth_of(half_plane())
    x = np.arange(50)
    np.testing.assert_allclose(depth[7], np.clip(24.5 - x, -REACH, REACH), atol=0.05)


def test_depth_of_a_disc() -> None:
    y, x = np.indices((41, 41)) - 20
    distance = np.hypot(x, y)
    depth = depth_of(np.where(distance <= 10, 255, 0).astype(np.uint8))
    assert np.abs(depth - np.clip(10.3 - distance, -REACH, REACH)).max() < 0.8
    assert ((depth > 0) == (distance <= 10)).all()


def test_soft_edges_come_back_as_opacity() -> None:
    mask = np.zeros((8, 200), np.uint8)
    mask[:, :101] = 255
    mask[:, 94:108] = np.linspace(245, 10, 14).astype(np.uint8)
    opacity = 1 / (1 + np.exp(-EDGE * depth_of(mask)))
    np.testing.assert_allclose(opacity[:, 90:112], mask[:, 90:112] / 255, atol=0.03)
    packed = unpack_depth(pack_depth(depth_of(mask)))
    np.testing.assert_allclose(1 / (1 + np.exp(-EDGE * packed[:, 90:112])), mask[:, 90:112] / 255, atol=0.06)


def test_empty_and_full() -> None:
    assert (depth_of(np.zeros((9, 11), np.uint8)) == -REACH).all()
    assert (depth_of(np.full((9, 11), 255, np.uint8)) == REACH).all()
    assert (depth_of(np.full((9, 11), 4, np.uint8)) < 0).all()


def test_packing_loses_less_than_a_sixteenth() -> None:
    depth = np.linspace(-40, 40, 1000).astype(np.float32)
    assert np.abs(unpack_depth(pack_depth(depth)) - np.clip(depth, -REACH, REACH)).max() <= 1 / 16 + 1e-6


def test_weights_leave_a_gap_along_the_outline() -> None:
    depth = depth_of(half_plane())
    mine, rest = object_weight(depth), background_weight([depth], depth.shape)
    assert (mine[:, :24] == 1).all() and (mine[:, 25:] == 0).all()
    assert (rest[:, :28] == 0).all() and (rest[:, 29:] == 1).all()
    assert (background_weight([], (3, 4)) == 1).all()
    assert (background_weight([depth, depth_of(np.full_like(half_plane(), 255))], depth.shape) == 0).all()
