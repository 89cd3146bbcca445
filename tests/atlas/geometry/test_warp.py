"""Sampling, splatting and compositing: known positions, and one the adjoint of the other."""

from __future__ import annotations

import math

import pytest
import torch

from atlas.geometry.warp import composite, frame_time, pixel_grid, sample, splat, splat_planes, visible_opacities


def centres(size: int) -> torch.Tensor:
    return (2 * torch.arange(size) + 1) / size - 1


class TestSample:
    def test_pixel_centres_give_the_pixels(self) -> None:
        image = torch.rand(5, 7, 3, generator=torch.Generator().manual_seed(0))
        uv = torch.stack(torch.meshgrid(centres(7), centres(5), indexing="xy"), -1)
        torch.testing.assert_close(sample(image, uv), image)

    def test_half_way_is_the_mean(self) -> None:
        image = torch.tensor([[[0.0], [1.0]]])  # one row of two pixels: centres at u = -0.5 and 0.5
        found = sample(image, torch.tensor([[0.0, 0.0], [-0.25, 0.0], [-0.5, 0.0]]))
        torch.testing.assert_close(found[:, 0], torch.tensor([0.5, 0.25, 0.0]))

    def test_the_border_is_repeated(self) -> None:
        image = torch.tensor([[[3.0], [5.0]]])
        found = sample(image, torch.tensor([[-1.0, 0.0], [-9.0, 4.0], [9.0, 0.0]]))
        assert found[:, 0].tolist() == [3.0, 3.0, 5.0]

    def test_u_runs_right_and_v_down(self) -> None:
        image = torch.zeros(3, 4, 1)
        image[2, 0] = 1
        assert sample(image, torch.tensor([centres(4)[0], centres(3)[2]])).item() == 1

    def test_keeps_leading_shape(self) -> None:
        assert sample(torch.zeros(3, 3, 2), torch.zeros(4, 5, 6, 2)).shape == (4, 5, 6, 2)


class TestSplat:
    def test_is_the_adjoint_of_sample(self) -> None:
        """<sample(image, uv), w * values> = <image, splat(values, uv, w)> for any image and values."""
        generator = torch.Generator().manual_seed(1)
        image = torch.rand(6, 9, 3, generator=generator, dtype=torch.float64)
        values = torch.rand(200, 3, generator=generator, dtype=torch.float64)
        weights = torch.rand(200, generator=generator, dtype=torch.float64)
        uv = torch.rand(200, 2, generator=generator, dtype=torch.float64) * 2 - 1
        left = (sample(image, uv) * values * weights[:, None]).sum()
        total, weight = splat(values, uv, weights, (6, 9))
        torch.testing.assert_close((image * total).sum(), left)
        torch.testing.assert_close(weight.sum(), weights.sum())

    def test_known_shares(self) -> None:
        uv = torch.tensor([[centres(4)[1] + 0.25 * 0.5, centres(3)[2]]])  # a quarter of the way from texel 1 to 2
        total, weight = splat(torch.tensor([[8.0]]), uv, torch.tensor([2.0]), (3, 4))
        torch.testing.assert_close(weight[2], torch.tensor([0.0, 1.5, 0.5, 0.0]))
        torch.testing.assert_close(total[2, :, 0], torch.tensor([0.0, 12.0, 4.0, 0.0]))
        assert weight[:2].sum() == 0

    def test_values_outside_are_dropped(self) -> None:
        uv = torch.tensor([[1.01, 0.0], [0.0, -2.0], [float("nan"), 0.0], [1.0, 1.0]])
        _, weight = splat(torch.ones(4, 1), uv, torch.ones(4), (4, 4))
        assert weight.sum() == 1 and weight[3, 3] == 1

    def test_mean_of_what_falls_on_a_texel(self) -> None:
        uv = torch.zeros(2, 2)
        total, weight = splat(torch.tensor([[1.0], [4.0]]), uv, torch.tensor([2.0, 1.0]), (1, 1))
        torch.testing.assert_close(total / weight[..., None], torch.tensor([[[2.0]]]))

    def test_there_and_back(self) -> None:
        """A picture splatted into an atlas of its size, at its own pixel centres, is the picture."""
        picture = torch.rand(8, 8, 3, generator=torch.Generator().manual_seed(2))
        uv = torch.stack(torch.meshgrid(centres(8), centres(8), indexing="xy"), -1)
        total, weight = splat(picture, uv, torch.ones(8, 8), (8, 8))
        torch.testing.assert_close(total / weight[..., None], picture)


class TestVisibleOpacities:
    def test_stick_breaking(self) -> None:
        visible = visible_opacities(torch.tensor([[0.5], [0.5], [0.25]]))
        torch.testing.assert_close(visible[:, 0], torch.tensor([0.5, 0.25, 0.0625, 0.1875]))

    def test_sums_to_one(self) -> None:
        opacities = torch.rand(4, 10, 10, generator=torch.Generator().manual_seed(3))
        torch.testing.assert_close(visible_opacities(opacities).sum(0), torch.ones(10, 10))

    def test_opaque_hides_all_behind(self) -> None:
        assert visible_opacities(torch.tensor([[1.0], [1.0]]))[:, 0].tolist() == [1, 0, 0]

    def test_composite(self) -> None:
        colours = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
        torch.testing.assert_close(composite(colours, torch.tensor([[0.25], [0.75]])), torch.tensor([[0.25, 0.75]]))


class TestCoordinates:
    @pytest.mark.parametrize(("height", "width"), [(4, 8), (8, 4), (5, 5)])
    def test_half_the_longer_side_is_one(self, height: int, width: int) -> None:
        grid = pixel_grid(height, width)
        assert grid.shape == (height, width, 2)
        step = 2 / max(height, width)
        assert grid[0, 1, 0] - grid[0, 0, 0] == pytest.approx(step)
        assert grid[1, 0, 1] - grid[0, 0, 1] == pytest.approx(step)
        assert grid.mean(dim=(0, 1)).abs().max() < 1e-6
        assert grid.abs().max() == pytest.approx(1 - step / 2)

    def test_time(self) -> None:
        assert [frame_time(i, 5) for i in range(5)] == [-1, -0.5, 0, 0.5, 1]
        assert frame_time(0, 1) == 0


class TestSplatPlanes:
    def test_a_part_of_the_atlas_holds_all_that_is_reached(self) -> None:
        """As four taps one by one put it, wherever the points are; the part is no larger than they need."""
        generator = torch.Generator().manual_seed(0)
        uv = torch.rand(200, 2, generator=generator) * torch.tensor([0.5, 0.7]) + torch.tensor([0.55, -0.9])
        weights = torch.rand(200, generator=generator) - 0.2
        values = torch.rand(2, 200, generator=generator)
        values[:, weights <= 0] = torch.nan  # what does not count may be anything
        (rows, columns), found = splat_planes(values, uv, weights, (30, 50))
        expected = torch.zeros(3, 30, 50)
        for (u, v), weight, value in zip(uv.tolist(), weights.tolist(), values.T.tolist(), strict=True):
            if abs(u) > 1 or abs(v) > 1 or weight <= 0:
                continue
            x, y = (u + 1) * 25 - 0.5, (v + 1) * 15 - 0.5
            for column in (math.floor(x), math.floor(x) + 1):
                for row in (math.floor(y), math.floor(y) + 1):
                    share = (1 - abs(x - column)) * (1 - abs(y - row)) * weight
                    at = min(max(row, 0), 29), min(max(column, 0), 49)
                    expected[:, at[0], at[1]] += share * torch.tensor([*value, 1.0])
        whole = torch.zeros(3, 30, 50)
        whole[:, rows, columns] = found
        torch.testing.assert_close(whole, expected, atol=1e-4, rtol=1e-4)
        assert columns.start > 35 and columns.stop == 50 and rows.start <= 2 and rows.stop <= 29

    def test_nothing_is_reached_where_nothing_counts(self) -> None:
        outside, hidden = (torch.full((5, 2), 1.5), torch.ones(5)), (torch.zeros(5, 2), torch.zeros(5))
        for uv, weight in (outside, hidden, (torch.zeros(0, 2), torch.zeros(0))):
            (rows, columns), planes = splat_planes(torch.ones(1, len(uv)), uv, weight, (8, 8))
            assert planes.numel() == 0 and rows == columns == slice(0, 0)
