"""Sides that can be played, and frames spread over a clip."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.video.sheet import even, spread


@pytest.mark.parametrize("size", [(3, 4), (4, 3), (5, 7), (2, 2)])
def test_sides_are_made_even_by_repeating_the_edge(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    result = even(image)
    assert result.shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    assert (result[: size[0], : size[1]] == image).all() and (result[-1, -1] == image[-1, -1]).all()


def test_first_and_last_are_among_the_frames_that_are_spread() -> None:
    assert spread(10, 4) == [0, 3, 6, 9] and spread(2, 6) == [0, 1]
