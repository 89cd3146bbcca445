"""Losses of the fit (reconstruction, gradient, rigidity, flow, masks, sparsity): pure functions on small square patches.

Patches are (P, S, S, ...): neighbours are already evaluated, so that differences cost no further evaluation.
Sources: Layered Neural Atlases (2021) for the terms; the patches are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor


def reconstruction(predicted: Tensor, true: Tensor) -> Tensor:  # (..., 3) both
    """Mean over pixels of the squared colour distance."""
    return (predicted - true).square().sum(-1).mean()


def gradient(
    predicted: Tensor,  # (P, S, S, 3)
    true: Tensor,  # (P, S, S, 3)
) -> Tensor:
    """Mean squared distance of the colours' forward differences in x and y."""
    left_over = predicted - true
    in_x = left_over[:, :, 1:] - left_over[:, :, :-1]
    in_y = left_over[:, 1:] - left_over[:, :-1]
    return in_x.square().sum(-1).mean() + in_y.square().sum(-1).mean()


def jacobian(
    uv: Tensor,  # (P, S, S, 2)
    texels: float,
) -> Tensor:  # (P, S - 1, S - 1, 2, 2): d(texel) / d(pixel)
    """Forward-difference Jacobian of a mapping. texels: atlas texels per unit of uv, so that a pure shift gives I."""
    in_x = (uv[:, :-1, 1:] - uv[:, :-1, :-1]) * texels
    in_y = (uv[:, 1:, :-1] - uv[:, :-1, :-1]) * texels
    return torch.stack([in_x, in_y], -1)


def rigidity(
    uv: Tensor,  # (P, S, S, 2)
    texels: float,
    weight: Tensor,  # (P, S, S)
) -> Tensor:
    """|J'J|_F + |(J'J + 0.001 I)^-1|_F, weighted mean over pixels: 2 sqrt 2 for a rotation, growing with any stretch."""
    j = jacobian(uv, texels)
    metric = j.transpose(-1, -2) @ j
    a, b, d = metric[..., 0, 0], metric[..., 0, 1], metric[..., 1, 1]
    norm = (a * a + 2 * b * b + d * d + 1e-12).sqrt()
    # The inverse of a symmetric 2x2 matrix has its own entries, rearranged, over the determinant.
    a1, d1 = a + 1e-3, d + 1e-3
    determinant = (a1 * d1 - b * b).clamp(min=1e-6)
    inverse_norm = (a1 * a1 + 2 * b * b + d1 * d1 + 1e-12).sqrt() / determinant
    weight = weight[:, :-1, :-1]
    return ((norm + inverse_norm) * weight).sum() / weight.sum().clamp(min=1e-6)


def flow_agreement(
    uv: Tensor,  # (layers, N, 2)
    uv_moved: Tensor,  # (layers, N, 2): at the points moved by the flow
    opacity: Tensor,  # (layers, N)
    valid: Tensor,  # (N,)
    texels: Tensor,  # (layers,)
) -> Tensor:
    """Mean distance in texels between a point's place in the atlas and its moved self's, by visible opacity."""
    distance = ((uv_moved - uv).square().sum(-1) + 1e-12).sqrt() * texels[:, None]
    return (distance * opacity * valid).sum() / valid.sum().clamp(min=1)


def opacity_agreement(
    opacity: Tensor,  # (objects, N)
    opacity_moved: Tensor,  # (objects, N)
    valid: Tensor,  # (N,)
) -> Tensor:
    """Mean change of opacity along the flow."""
    return ((opacity_moved - opacity).abs() * valid).sum() / valid.sum().clamp(min=1)


def mask_entropy(
    opacity: Tensor,  # (objects, N)
    mask: Tensor,  # (objects, N) in [0, 1]
) -> Tensor:
    """Binary cross-entropy of opacity against the given mask, mean over points."""
    safe = opacity.clamp(1e-4, 1 - 1e-4)
    return -(mask * safe.log() + (1 - mask) * (1 - safe).log()).sum(0).mean()


def sparsity(
    opacity: Tensor,  # (objects, N)
    colour: Tensor,  # (objects, N, 3)
) -> Tensor:
    """Mean |(1 - opacity) colour|^2 of the objects: an atlas learned by gradient must be black where it is not seen."""
    return ((1 - opacity)[..., None] * colour).square().sum(-1).sum(0).mean()
