"""Grids: round trips to the bit, every frame in each step, shuffled anew."""

from __future__ import annotations

import pytest
import torch

from edit.sampling.grid import from_grid, grids, to_grid


@pytest.mark.parametrize("side", [1, 2, 3])
def test_a_grid_taken_apart_is_its_images(side: int) -> None:
    images = torch.randn(side * side, 4, 5, 7)
    grid = to_grid(images)
    assert grid.shape == (1, 4, 5 * side, 7 * side)
    assert torch.equal(from_grid(grid, side), images)
    assert torch.equal(to_grid(from_grid(grid, side)), grid)


def test_images_lie_row_by_row() -> None:
    grid = to_grid(torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 2, 3))[0, 0]
    assert grid[:2, :3].unique() == 0 and grid[:2, 3:].unique() == 1
    assert grid[2:, :3].unique() == 2 and grid[2:, 3:].unique() == 3


@pytest.mark.parametrize(("frames", "side"), [(9, 3), (20, 3), (4, 3), (1, 2), (5, 1)])
def test_every_frame_is_in_a_grid_and_the_last_is_filled(frames: int, side: int) -> None:
    drawn = grids(frames, side, step=2, seed=7)
    assert len(drawn) == -(-frames // side**2) and all(len(grid) == side * side for grid in drawn)
    order = [frame for grid in drawn for frame in grid]
    assert sorted(order[:frames]) == list(range(frames))
    assert order[frames:] == [order[number % frames] for number in range(len(order) - frames)]


def test_the_shuffle_is_another_in_each_step_and_the_same_for_the_same_seed() -> None:
    assert grids(18, 3, 4, 1) == grids(18, 3, 4, 1)
    assert len({str(grids(18, 3, step, seed)) for step in range(10) for seed in range(3)}) == 30
