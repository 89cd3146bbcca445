"""Rasterising: exact places and coverage on known mappings, folds, tears, and the way it compares with griddata."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atlas.geometry.rasterise import Inverse, inverse_map
from atlas.geometry.warp import pixel_grid
from scripts.benchmarks.edits.splatting import BenchSplatOptions, _holes, bench_splat


def covered(inverse: Inverse, size: int) -> np.ndarray:  # (N, N) bool
    result = np.zeros(size * size, bool)
    result[inverse.texel.numpy()] = True
    return result.reshape(size, size)


def turned(height: int, width: int, scale: float, degrees: float) -> tuple[torch.Tensor, np.ndarray]:
    """uv of a frame laid into the atlas turned and scaled, and the matrix."""
    angle = np.deg2rad(degrees)
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return pixel_grid(height, width).double() @ torch.from_numpy(matrix.T), matrix


@pytest.mark.parametrize(("size", "degrees"), [(20, 0), (61, 17), (300, 30), (900, -77)])
def test_an_affine_mapping_is_inverted_and_covered_exactly(size: int, degrees: float) -> None:
    height, width = 24, 32
    uv, matrix = turned(height, width, 0.6, degrees)
    inverse = inverse_map(uv, torch.ones(height, width), (size, size))
    row, column = np.divmod(np.arange(size * size), size)
    place = np.stack([(column + 0.5) * 2 / size - 1, (row + 0.5) * 2 / size - 1], -1) @ np.linalg.inv(matrix).T
    x, y = place[:, 0] * 16 + 15.5, place[:, 1] * 16 + 11.5
    margin = np.minimum.reduce([x, y, width - 1 - x, height - 1 - y])
    hit = covered(inverse, size).reshape(-1)
    assert hit[margin > 1e-3].all() and not hit[margin < -1e-3].any()
    assert len(np.unique(inverse.texel.numpy())) == len(inverse.texel)
    found = inverse.texel.numpy()
    assert np.abs(inverse.x.numpy() - x[found]).max() < 2e-3 and np.abs(inverse.y.numpy() - y[found]).max() < 2e-3


@pytest.mark.parametrize("size", [80, 400, 1500])
def test_there_are_no_holes_however_uneven_the_sheet_is(size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    bent = torch.nn.functional.interpolate(torch.randn(1, 2, 6, 8, generator=generator), (48, 64), mode="bicubic")
    uv = pixel_grid(48, 64) * torch.linspace(0.3, 0.85, 64)[:, None] + 0.02 * bent[0].permute(1, 2, 0)
    found = covered(inverse_map(uv, torch.ones(48, 64), (size, size)), size)
    assert found.mean() > 0.05 and _holes(found) == 0


def test_an_atlas_of_more_texels_than_float32_counts() -> None:
    side = 5001
    uv = 0.95 + 0.004 * pixel_grid(12, 16)
    inverse = inverse_map(uv, torch.ones(12, 16), (side, side))
    row, column = np.divmod(inverse.texel.numpy(), side)
    x, y = ((((place + 0.5) * 2 / side - 1) - 0.95) / 0.004 for place in (column, row))
    assert len(row) > 200
    assert np.abs(inverse.x.numpy() - (x * 8 + 7.5)).max() < 0.05 and np.abs(inverse.y.numpy() - (y * 8 + 5.5)).max() < 0.05


@pytest.mark.parametrize(("side", "holes"), [(96 * 4, False), (110 * 4, True)])
def test_how_far_an_atlas_may_be_enlarged(side: int, holes: bool) -> None:
    """4 x 4 pixels over the whole atlas."""
    found = covered(inverse_map(pixel_grid(4, 4), torch.ones(4, 4), (side, side)), side)
    inner = found[side // 8 + 1 : -side // 8 - 1, side // 8 + 1 : -side // 8 - 1]
    assert bool(inner.all()) != holes


def test_of_two_sheets_the_more_opaque_is_in_front() -> None:
    """The frame's left half lies on its right half, as where a mapping folds over."""
    uv = pixel_grid(16, 40) * 0.9
    uv[:, 20:, 0] = uv[:, :20, 0].flip(1)
    for front in (0, 1):
        opacity = torch.full((16, 40), 0.4)
        opacity[:, 20 * front : 20 * front + 20] = 0.9
        inverse = inverse_map(uv, opacity, (100, 100))
        found = inverse.x[(inverse.x - 19.5).abs() > 1.5]  # the fold itself belongs to both
        assert len(found) > 500 and ((found > 19.5) == bool(front)).all()


def test_a_tear_is_not_bridged() -> None:
    uv = pixel_grid(16, 32) * 0.3
    uv[:, 16:] += 0.6
    found = covered(inverse_map(uv, torch.ones(16, 32), (200, 200)), 200)
    _, columns = np.nonzero(found)
    assert not ((columns > 105) & (columns < 155)).any() and (columns < 105).any() and (columns > 155).any()


def test_what_is_not_there_covers_nothing() -> None:
    uv = pixel_grid(8, 8)
    assert len(inverse_map(uv, torch.zeros(8, 8), (16, 16)).texel) == 0
    assert len(inverse_map(uv[:1], torch.ones(1, 8), (16, 16)).texel) == 0
    assert len(inverse_map(torch.zeros(8, 8, 2), torch.ones(8, 8), (16, 16)).texel) == 0  # all in one point
    assert len(inverse_map(uv + 5, torch.ones(8, 8), (16, 16)).texel) == 0
    beyond = inverse_map(uv + 1, torch.ones(8, 8), (64, 64))
    row, column = np.divmod(beyond.texel.numpy(), 64)
    assert row.min() >= 30 and column.min() >= 30 and row.max() == column.max() == 63


def test_looking_up_is_differentiable() -> None:
    image = torch.rand(8, 8, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    inverse = inverse_map(pixel_grid(8, 8), torch.ones(8, 8), (32, 32))
    inverse.put(inverse.look_up(image), (32, 32)).sum().backward()
    assert image.grad is not None and float(image.grad.sum()) == pytest.approx(2 * len(inverse.texel), rel=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_finds_the_same() -> None:
    uv, _ = turned(24, 32, 0.6, 17)
    here, there = (inverse_map(uv.to(d), torch.ones(24, 32, device=d), (90, 90)) for d in ("cpu", "cuda"))
    assert torch.equal(here.texel, there.texel.cpu()) and torch.allclose(here.x, there.x.cpu(), atol=1e-3)


@pytest.mark.slow
def test_it_is_faster_than_griddata_and_closer_to_the_truth() -> None:
    pytest.importorskip("scipy")
    found = bench_splat(BenchSplatOptions(width=192, height=108, size=500, quiet=True))
    assert found["times_faster"] > 8 and found["psnr"] > found["griddata_psnr"] + 2 and found["holes"] == 0
