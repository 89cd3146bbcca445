"""Outward filling: the nearest seen pixel, and colours continued from a cut-out. Pull-push is tested with partial atlases."""

from __future__ import annotations

import numpy as np

from atlas.geometry.filling import continued, nearest_seen


def test_the_nearest_seen_pixel_is_found_from_everywhere() -> None:
    seen = np.zeros((12, 20), bool)
    seen[3, 4] = seen[9, 15] = seen[9, 16] = True
    distance, index = nearest_seen(seen)
    np.testing.assert_array_equal(distance[seen], 0)
    np.testing.assert_array_equal(index[seen], np.flatnonzero(seen))
    assert index[0, 0] == 3 * 20 + 4
    assert index[11, 19] == 9 * 20 + 16
    np.testing.assert_allclose(distance[3, 9], 5, atol=0.1)


def test_nothing_of_the_colours_outside_stays() -> None:
    colour = np.random.default_rng(0).uniform(0, 1, (60, 80, 3)).astype(np.float32)
    inside = np.zeros((60, 80), bool)
    inside[20:40, 10:30] = True
    colour[inside] = (0.2, 0.5, 0.8)
    result = continued(colour, inside)
    np.testing.assert_allclose(result, np.broadcast_to(np.float32([0.2, 0.5, 0.8]), result.shape), atol=1e-4)
