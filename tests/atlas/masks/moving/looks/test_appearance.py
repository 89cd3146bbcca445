"""What tells two kinds of pixels apart is learned, the same each time, and nothing where one kind is hardly seen."""

from __future__ import annotations

import numpy as np

from atlas.masks.moving.looks.appearance import Appearance
from atlas.masks.moving.looks.perceptron import Perceptron


def test_kinds_that_no_line_divides() -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (4000, 2)).astype(np.float32)
    labels = samples[:, 0] * samples[:, 1] > 0
    odds = Perceptron(samples, labels).odds(samples)
    assert np.mean((odds > 0) == labels) > 0.95
    np.testing.assert_array_equal(Perceptron(samples, labels).odds(samples), odds)
    assert Perceptron(samples, labels).odds(samples.reshape(40, 100, 2)).shape == (40, 100)


def test_colours_seen_in_some_frames_are_known_in_others() -> None:
    images = np.random.default_rng(1).integers(0, 60, (4, 30, 40, 3)).astype(np.uint8)
    images[:, 8:22, 10:30, 0] += 150
    inside = np.zeros((30, 40), np.float32)
    inside[10:20, 12:28] = 1
    nothing = np.zeros_like(inside)
    outside = np.zeros_like(inside)
    outside[:5] = outside[25:] = 1

    def certain(index: int) -> tuple[np.ndarray, np.ndarray]:
        return (inside if index < 2 else nothing), outside

    odds = Appearance(4, images.__getitem__, certain).odds(3, images[3])
    assert odds[11:19, 13:27].min() > 0 and odds[:4].max() < 0
    nowhere = Appearance(4, images.__getitem__, lambda index: (nothing, outside))
    assert not nowhere.odds(0, images[0]).any()
