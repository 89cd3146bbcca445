"""Losses: known answers, and gradients that stay finite."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from atlas.model import losses


def plane(matrix: Tensor, size: int = 6) -> Tensor:  # (1, S, S, 2): each pixel moved by a 2x2 matrix
    y, x = torch.meshgrid(torch.arange(size, dtype=torch.float32), torch.arange(size, dtype=torch.float32), indexing="ij")
    return (torch.stack([x, y], -1) @ matrix.T)[None]


def rotation(degrees: float, scale: float = 1.0) -> Tensor:
    a = math.radians(degrees)
    return scale * torch.tensor([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])


def test_reconstruction_is_the_squared_distance() -> None:
    predicted = torch.zeros(2, 3, 3)
    predicted[0, 0] = torch.tensor([0.1, 0.2, 0.2])
    assert losses.reconstruction(predicted, torch.zeros(2, 3, 3)).item() == pytest.approx(0.09 / 6)


def test_gradient_does_not_see_a_constant_and_sees_a_ramp() -> None:
    true = torch.rand(2, 5, 5, 3, generator=torch.Generator().manual_seed(0))
    assert losses.gradient(true + 0.3, true).item() < 1e-12
    ramp = torch.arange(5.0)[None, None, :, None] * 0.1
    assert losses.gradient(true + ramp, true).item() == pytest.approx(3 * 0.01, rel=1e-4)


def test_jacobian_is_the_matrix() -> None:
    matrix = torch.tensor([[1.2, 0.3], [-0.1, 0.9]])
    found = losses.jacobian(plane(matrix) / 50, 50.0)
    assert found.shape == (1, 5, 5, 2, 2)
    torch.testing.assert_close(found, matrix.expand_as(found), atol=1e-5, rtol=0)


def test_rigidity_of_a_rotation() -> None:
    ones = torch.ones(1, 6, 6)
    for degrees in (0, 30, 135):
        assert losses.rigidity(plane(rotation(degrees)), 1.0, ones).item() == pytest.approx(2 * math.sqrt(2), abs=1e-2)
    stretched = [losses.rigidity(plane(rotation(20, scale)), 1.0, ones).item() for scale in (0.5, 0.8, 1.0, 1.25, 2.0)]
    assert stretched[0] > stretched[1] > stretched[2] < stretched[3] < stretched[4]
    # |J'J| + |(J'J)^-1| of a scale by 2
    assert stretched[4] == pytest.approx(math.sqrt(2) * (4 + 1 / 4), rel=1e-2)


def test_rigidity_counts_what_has_weight() -> None:
    uv = plane(rotation(0))
    uv[:, 3:] *= 3
    weight = torch.zeros(1, 6, 6)
    weight[:, :2] = 1
    assert losses.rigidity(uv, 1.0, weight).item() == pytest.approx(2 * math.sqrt(2), abs=1e-2)
    assert losses.rigidity(uv, 1.0, torch.zeros(1, 6, 6)).item() == 0


def test_flow_agreement_is_the_distance_in_texels() -> None:
    uv = torch.zeros(2, 4, 2)
    moved = uv.clone()
    moved[0, :, 0] = 0.03
    opacity = torch.tensor([[1.0, 1, 1, 0.5], [0, 0, 0, 0.5]])
    valid = torch.tensor([1.0, 1, 0, 1])
    texels = torch.tensor([100.0, 50.0])
    assert losses.flow_agreement(uv, uv, opacity, valid, texels).item() == pytest.approx(0, abs=1e-3)
    assert losses.flow_agreement(uv, moved, opacity, valid, texels).item() == pytest.approx((3 + 3 + 1.5) / 3, rel=1e-3)


def test_opacity_agreement() -> None:
    opacity = torch.tensor([[0.2, 0.5, 0.9]])
    assert losses.opacity_agreement(opacity, opacity, torch.ones(3)).item() == 0
    moved = torch.tensor([[0.3, 0.1, 0.0]])
    assert losses.opacity_agreement(opacity, moved, torch.tensor([1.0, 1, 0])).item() == pytest.approx(0.25)
    assert losses.opacity_agreement(opacity, moved, torch.zeros(3)).item() == 0


def test_mask_entropy() -> None:
    half = torch.full((1, 4), 0.5)
    assert losses.mask_entropy(half, half).item() == pytest.approx(math.log(2), rel=1e-5)
    sure = torch.tensor([[0.0, 1.0]])
    assert losses.mask_entropy(sure, sure).item() < 1e-3
    assert losses.mask_entropy(sure, 1 - sure).item() > 5


def test_sparsity_is_zero_inside_or_black() -> None:
    colour = torch.rand(1, 5, 3)
    assert losses.sparsity(torch.ones(1, 5), colour).item() == 0
    assert losses.sparsity(torch.zeros(1, 5), torch.zeros(1, 5, 3)).item() == 0
    assert losses.sparsity(torch.zeros(1, 5), torch.ones(1, 5, 3)).item() == pytest.approx(3)


def test_gradients_agree_with_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    rand = lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    uv = (plane(rotation(10)).double() + 0.1 * rand(1, 6, 6, 2)).requires_grad_()
    colour, true = rand(1, 6, 6, 3).requires_grad_(), rand(1, 6, 6, 3)
    opacity = (0.1 + 0.8 * rand(2, 7)).requires_grad_()
    assert torch.autograd.gradcheck(lambda u: losses.rigidity(u, 1.0, torch.ones(1, 6, 6, dtype=torch.float64)), uv)
    assert torch.autograd.gradcheck(lambda c: losses.gradient(c, true) + losses.reconstruction(c, true), colour)
    assert torch.autograd.gradcheck(lambda o: losses.mask_entropy(o, torch.full_like(o, 0.3)), opacity)


def test_gradients_are_finite_where_a_mapping_collapses_or_nothing_moves() -> None:
    """Square roots at 0 and the inverse of a singular matrix are where gradients turn to NaN."""
    for uv in (torch.zeros(1, 4, 4, 2), plane(torch.tensor([[1.0, 0], [0, 0]]), 4)):
        uv.requires_grad_()
        losses.rigidity(uv, 1.0, torch.ones(1, 4, 4)).backward()
        assert torch.isfinite(uv.grad).all()
    still = torch.zeros(1, 5, 2, requires_grad=True)
    losses.flow_agreement(still, torch.zeros(1, 5, 2), torch.ones(1, 5), torch.ones(5), torch.ones(1)).backward()
    assert torch.isfinite(still.grad).all()
    sure = torch.tensor([[0.0, 1.0]], requires_grad=True)
    losses.mask_entropy(sure, torch.tensor([[1.0, 0.0]])).backward()
    assert torch.isfinite(sure.grad).all()
