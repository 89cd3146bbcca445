"""Losses against their formulas, written out pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edit.deflicker.video_prior.losses import apart, first_look, reweighted

Images = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@pytest.fixture
def images() -> Images:
    """Two looks (1, 6, 5, 7), source and edit."""
    draw = torch.Generator().manual_seed(0)
    return tuple(torch.rand(1, channels, 5, 7, generator=draw) for channels in (6, 3, 3))  # type: ignore[return-value]


ONE = torch.ones(1, 1, 5, 7)


def written_out(images: Images, weight: torch.Tensor) -> float:
    """IRT's loss by loops over pixels and channels."""
    looks, source, edited = (np.asarray(image[0], np.float64) for image in images)
    total = 0.0
    for y, x in np.ndindex(5, 7):
        main = [abs(looks[c, y, x] - edited[c, y, x]) for c in range(3)]
        minor = [abs(looks[3 + c, y, x] - edited[c, y, x]) for c in range(3)]
        far = [max(look[c] / (source[c, y, x] + 0.1) for c in range(3)) for look in (main, minor)]
        confidence = 1.0 if far[0] < far[1] else 0.0
        for c in range(3):
            total += float(weight[0, 0, y, x]) * (main[c] * confidence + minor[c] * (1 - confidence))
    return total / (3 * float(weight.sum()))


def test_reweighted_is_the_formula(images: Images) -> None:
    looks, source, edited = images
    assert abs(float(reweighted(looks, source, edited, ONE)) - written_out(images, ONE)) < 1e-6
    weight = torch.rand(1, 1, 5, 7, generator=torch.Generator().manual_seed(1))
    assert abs(float(reweighted(looks, source, edited, weight)) - written_out(images, weight)) < 1e-6


def test_each_pixel_teaches_the_nearer_look_alone(images: Images) -> None:
    looks, source, edited = images
    looks = torch.cat([edited, edited], 1).clone().requires_grad_()
    with torch.no_grad():
        looks[:, :3, :2] += 0.2  # above, the main look is farther
        looks[:, 3:, :2] += 0.1
        looks[:, :3, 2:] += 0.1
        looks[:, 3:, 2:] += 0.2
    reweighted(looks, source, edited, ONE).backward()
    assert looks.grad is not None
    taught = looks.grad[0].abs().sum(2) > 0  # (6, 5), of rows
    assert not taught[:3].sum(0)[:2].any() and taught[3:].all(0)[:2].all()
    assert taught[:3].all(0)[2:].all() and not taught[3:].sum(0)[2:].any()


def test_a_tie_is_the_minor_looks(images: Images) -> None:
    """C is 1 where the main look is *strictly* nearer."""
    _, source, edited = images
    looks = torch.cat([edited + 0.1, edited + 0.1], 1).requires_grad_()
    reweighted(looks, source, edited, ONE).backward()
    assert looks.grad is not None and not looks.grad[:, :3].any() and looks.grad[:, 3:].all()


def test_first_look_is_the_formula(images: Images) -> None:
    looks, _, edited = images
    expected = (looks[:, :3] - edited).abs().mean() + 0.9 * (looks[:, 3:] - edited).abs().mean()
    assert abs(float(first_look(looks, edited, ONE)) - float(expected)) < 1e-6


def test_what_has_no_weight_does_not_count(images: Images) -> None:
    looks, source, edited = images
    half = ONE.clone()
    half[..., :3] = 0
    other = edited.clone()
    other[..., :3] = 9
    for one, two in (
        (apart(looks[:, :3], edited, half), apart(looks[:, :3], other, half)),
        (reweighted(looks, source, edited, half), reweighted(looks, source, other, half)),
    ):
        assert torch.equal(one, two)
    assert float(apart(looks[:, :3], edited, torch.zeros_like(ONE))) == 0
