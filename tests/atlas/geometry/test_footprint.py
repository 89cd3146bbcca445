"""Footprints against plain splatting and sampling, on the path of a CPU and on that of other devices."""

from __future__ import annotations

import pytest
import torch

from atlas.geometry.footprint import Footprint
from atlas.geometry.warp import sample, splat

SIZE = (23, 31)


@pytest.fixture(params=["sparse matrix", "gathering"])
def footprint(request: pytest.FixtureRequest, uv: torch.Tensor) -> Footprint:
    made = Footprint(uv, SIZE)
    if request.param == "gathering":
        made._matrix = None  # as on a GPU
    return made


@pytest.fixture
def uv() -> torch.Tensor:
    """Points in a part of the image, not up to its border."""
    return torch.rand(500, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.9, 1.2]) - torch.tensor([0.8, 0.3])


def test_spreading_is_splatting(footprint: Footprint, uv: torch.Tensor) -> None:
    values = torch.rand(500, 3, generator=torch.Generator().manual_seed(1))
    whole = torch.zeros(*SIZE, 3)
    whole[footprint.box] = footprint.spread(values)
    assert torch.allclose(whole, splat(values, uv, torch.ones(500), SIZE)[0], atol=1e-5)


def test_looking_up_is_sampling(footprint: Footprint, uv: torch.Tensor) -> None:
    image = torch.rand(*SIZE, 4, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(footprint.look_up(image[footprint.box]), sample(image, uv), atol=1e-5)


def test_each_is_the_adjoint_of_the_other(footprint: Footprint) -> None:
    values, image = torch.rand(500, 1), torch.rand(*footprint.shape, 1)
    there, back = (footprint.spread(values) * image).sum(), (footprint.look_up(image) * values).sum()
    assert float(there) == pytest.approx(float(back), rel=1e-5)


def test_the_box_is_no_larger_than_what_the_points_touch(footprint: Footprint, uv: torch.Tensor) -> None:
    weight = splat(torch.ones(500, 1), uv, torch.ones(500), SIZE)[1]
    rows, columns = (torch.nonzero(weight.sum(axis))[:, 0] for axis in (1, 0))
    assert footprint.box == (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))


def test_points_on_the_border_and_beyond_lie_on_it() -> None:
    image = torch.arange(6.0).view(2, 3, 1)
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [3.0, -3.0]])
    assert Footprint(corners, (2, 3)).look_up(image)[:, 0].tolist() == [0, 2, 3, 5, 2]
