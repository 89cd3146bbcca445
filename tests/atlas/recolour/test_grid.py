"""Bilateral grids: corrections differ from place to place and by brightness, and there are none where nothing is missing."""

from __future__ import annotations

import numpy as np
import torch

from atlas.recolour.grid import BilateralGrid, GridPixels


def added(grid: BilateralGrid, colours: np.ndarray, uv: np.ndarray) -> np.ndarray:
    planes = list(torch.from_numpy(np.ascontiguousarray(colours.T[:, None], np.float32)))
    return torch.stack(grid.at(planes, torch.from_numpy(uv[None].astype(np.float32))), -1).numpy().reshape(-1, 3)


def fitted(colours: np.ndarray, missing: np.ndarray, uv: np.ndarray) -> BilateralGrid:
    pixels = GridPixels.of(colours, uv)
    return pixels.grid(pixels.sums(missing, np.ones(len(uv))).solved())


def test_two_sides_have_two_corrections() -> None:
    random = np.random.default_rng(0)
    colours, uv = random.uniform(0.1, 0.9, (20_000, 3)), random.uniform(-0.6, 0.4, (20_000, 2))
    left = uv[:, :1] < -0.1
    missing = np.where(left, 0.2 * (1 - colours), -0.1 * colours[:, [2, 0, 1]])
    grid = fitted(colours, missing, uv)
    away = np.abs(uv[:, 0] + 0.1) > 0.12  # it is smooth: the step between them is not its own
    assert np.abs(added(grid, colours, uv) - missing)[away].mean() < 0.015


def test_brightness_is_told_apart() -> None:
    random = np.random.default_rng(0)
    colours, uv = random.uniform(0, 1, (20_000, 1)).repeat(3, 1), random.uniform(-1, 1, (20_000, 2))
    missing = np.where(colours < 0.5, 0.1, -0.1)
    grid = fitted(colours, missing, uv)
    ends = np.abs(colours[:, 0] - 0.5) > 0.2
    assert np.abs(added(grid, colours, uv) - missing)[ends].mean() < 0.02


def test_nothing_is_added_where_nothing_is_missing() -> None:
    random = np.random.default_rng(0)
    colours, uv = random.uniform(0, 1, (500, 3)), random.uniform(-1, 1, (500, 2))
    assert not fitted(colours, np.zeros((500, 3)), uv).values.any()


def test_what_a_part_knows_is_left_out_by_subtraction() -> None:
    random = np.random.default_rng(0)
    colours, uv, missing = random.uniform(0, 1, (6000, 3)), random.uniform(-1, 1, (6000, 2)), random.uniform(-1, 1, (6000, 3))
    pixels, weight, part = GridPixels.of(colours, uv), random.uniform(0.1, 1, 6000), uv[:, 0] > 0.5
    sums = [pixels[some].sums(missing[some], weight[some]) for some in (part, ~part)]
    without = (sums[0] + sums[1] - sums[0]).solved()
    assert np.abs(without - sums[1].solved()).max() < 1e-6
    assert np.abs(pixels.corrections(without) - added(pixels.grid(without), colours, uv)).max() < 1e-4
