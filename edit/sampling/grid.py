"""Grids of frames: side * side frames as one picture of a network, which sees them beside each other (RAVE, CVPR 2024)."""

from __future__ import annotations

from math import isqrt

import numpy as np
from torch import Tensor


def grids(frames: int, side: int, step: int, seed: int) -> list[list[int]]:
    """Shuffle frames into grids of side * side, anew in each step; row by row.

    Where frames are missing to fill the last grid, the first of the same shuffle come again, after all that are new.
    """
    order = np.random.default_rng([seed % 2**64, step]).permutation(frames).tolist()
    size = side * side
    order += [order[number % frames] for number in range(-frames % size)]
    return [order[start : start + size] for start in range(0, len(order), size)]


def to_grid(
    images: Tensor,  # (side * side, C, h, w)
) -> Tensor:  # (1, C, side * h, side * w)
    """Lay images out as a grid, row by row: latents, or control images."""
    side = isqrt(len(images))
    _, channels, height, width = images.shape
    placed = images.reshape(side, side, channels, height, width).permute(2, 0, 3, 1, 4)
    return placed.reshape(1, channels, side * height, side * width)


def from_grid(
    grid: Tensor,  # (1, C, side * h, side * w)
    side: int,
) -> Tensor:  # (side * side, C, h, w)
    """Take a grid apart again: the inverse of `to_grid`, exactly."""
    _, channels, height, width = grid.shape
    parts = grid.reshape(channels, side, height // side, side, width // side).permute(1, 3, 0, 2, 4)
    return parts.reshape(side * side, channels, height // side, width // side)
