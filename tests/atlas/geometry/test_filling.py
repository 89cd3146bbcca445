"""Outward filling: the nearest seen pixel, colours continued from a cut-out, vectors that edges know in part.

Pull-push is tested with partial atlases.
"""

from __future__ import annotations

import numpy as np

from atlas.geometry.filling import cell_means, continued, nearest_seen, smooth_across_edges


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


def known_by(tensor: tuple[float, float, float], vector: tuple[float, float]) -> list[float]:
    """What a pixel of a structure tensor (xx, xy, yy) knows of a vector: the tensor, and its product with it."""
    (xx, xy, yy), (x, y) = tensor, vector
    return [xx, xy, yy, xx * x + xy * y, xy * x + yy * y]


def test_an_edge_counts_across_itself_only() -> None:
    """Upright edges all over, of one shift sideways, that know nothing of what runs along them; a few corners that do."""
    known = np.zeros((40, 60, 5), np.float32)
    known[:, ::6] = known_by((1, 0, 0), (2, -50))  # -50 along the edge is no evidence: its weight is 0
    known[6::14, 8::16] = known_by((1, 0, 1), (2, 1))
    found = smooth_across_edges(known, 2.0)[4:-4, 4:-4]  # no corner lies far from there
    np.testing.assert_allclose(found, np.broadcast_to(np.float32([2, 1]), found.shape), atol=0.05)


def test_slanting_edges_know_a_shift_together() -> None:
    known = np.zeros((40, 60, 5), np.float32)
    known[::2] = known_by((0.5, 0.5, 0.5), (1.5, -0.5))
    known[1::2] = known_by((0.5, -0.5, 0.5), (1.5, -0.5))
    np.testing.assert_allclose(
        smooth_across_edges(known, 3.0)[5:-5, 5:-5], np.broadcast_to([1.5, -0.5], (30, 50, 2)), atol=0.01
    )


def test_what_knows_nothing_stays() -> None:
    assert not smooth_across_edges(np.zeros((10, 12, 5), np.float32), 2.0, floor=1e-2).any()


def test_edges_of_one_slanted_direction_move_nothing_along_them() -> None:
    """Diagonal stripes all over: the part across them is found, and what rounding leaves of the rest is not blown up."""
    random = np.random.default_rng(0)
    strength = random.uniform(0.01, 3, (48, 64)).astype(np.float32)
    known = strength[..., None] * np.float32(known_by((0.5, 0.5, 0.5), (2, 0)))
    for sigma in (1.5, 4.0, 10.0):
        found = smooth_across_edges(known, sigma, floor=1e-2)
        np.testing.assert_allclose(found.sum(-1), 2, atol=0.05)
        assert np.abs(found[..., 0] - found[..., 1]).max() < 0.5


def test_cells_hold_the_means_of_what_a_box_shows() -> None:
    planes = [np.full((4, 6), 8.0, np.float32), np.ones((4, 6), np.float32)]
    cells = cell_means(planes, (slice(4, 8), slice(2, 8)), (8, 8), (2, 2))
    np.testing.assert_allclose(cells[..., 1], [[0, 0], [0.5, 1]])  # half of the lower left cell lies in the box
    np.testing.assert_allclose(cells[..., 0], 8 * cells[..., 1])
