"""Half-size tracks and looks: the same places, at half the size."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.fitting.data import Look
from atlas.fitting.halves import halved_looks, halved_track, with_offsets_of
from atlas.fitting.tracking import Track


@pytest.mark.parametrize(("height", "width"), [(128, 200), (129, 201)])
def test_a_halved_track_leads_to_the_same_places(height: int, width: int) -> None:
    generator = np.random.default_rng(0)
    track = Track.identity(2, height, width)
    track.base[1] = [[1.1, 0.05, 7], [-0.04, 0.95, -3], [1e-4, -2e-4, 1]]
    track.offset[:] = generator.normal(0, 3, (2, 1, 1, 2))
    half = halved_track(track)
    assert (half.height, half.width) == (-(-height // 2), -(-width // 2)) and half.grid_size == track.grid_size
    scale = np.array([half.width / width, half.height / height])
    points = generator.uniform(0, 100, (50, 2)).astype(np.float32)
    for t in (0, 1):
        there = track.at(t, points)
        found = half.at(t, ((points + 0.5) * scale - 0.5).astype(np.float32))
        np.testing.assert_allclose((found + 0.5) / scale - 0.5, there, atol=1e-3)
    np.testing.assert_allclose(with_offsets_of(track, half).offset, track.offset, rtol=1e-6)


def test_looks_are_halved_with_what_lies_around_them() -> None:
    colour, weight = np.full((40, 60, 3), 0.5, np.float32), np.ones((40, 60), np.float32)
    looks = halved_looks(lambda t: Look((slice(30, 70), slice(41, 101)), colour, weight) if t else None, (128, 201))
    assert looks(0) is None
    half = looks(1)
    assert half is not None and half.colour.shape == (*half.weight.shape, 3)
    assert half.weight.sum() == pytest.approx(40 * 60 / 4, rel=0.01)
    assert half.box == (slice(15 - 12, 35 + 12), slice(20 - 12, 51 + 12))
