"""Confirm what a colour change leaves of an edit: the texture that goes through the atlas, as far as keyframes agree on it."""

from __future__ import annotations

import cv2
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from aggregate.stack import Images
from atlas.recolour.change import ColourChange

_AROUND = 6  # texels of the working size over which agreement is measured
_WORKING = 512
_AGREE = (0.1, 0.5)  # share of a texture that other keyframes predict: noise, and as good as all of it
_NOISE = 1.5 / 255  # of 8-bit keyframes and of looking them up
_ROWS = 64


@torch.no_grad()
def confirmed(
    colours: Images,  # (K, H, W, 6): edited, then unedited with its colours changed
    weights: Images,  # (K, H, W)
) -> Tensor:  # (H, W) in [0, 1]
    """How far to believe what keyframes differ by from their recoloured frames: 1 a texture, 0 noise.

    By the regression of each keyframe on the mean of the others; where no texel was seen twice, by its strength alone.
    """
    count, height, width = weights.shape
    sums = [torch.cat(parts) for parts in zip(*(_band(colours, weights, top) for top in range(0, height, _ROWS)), strict=True)]
    around = _around(torch.stack(sums), max(1, round(max(height, width) / _WORKING)))
    alike, predicted, square, seen = around
    strong = 1 - _NOISE**2 / (square / seen.clamp(min=1e-6)).clamp(min=1e-12)
    strong = torch.where(seen > 1e-6, strong.clamp(0, 1), 1)  # what none of these saw, others may have seen
    if count == 1 or not float(predicted.max()) > 0:
        return strong
    floor = _NOISE**2 * seen / 4
    share = _ramp((alike + 1e-12) / (predicted + floor), *_AGREE)
    twice = predicted > 1e-6 * float(predicted.max())
    return torch.where(twice, share, strong * float(share[twice].mean()))


def believed(edited: Tensor, reference: Tensor, change: ColourChange, belief: Tensor) -> Tensor:  # (H, W, 3)
    """Leave out of an edited atlas what the colour change does not explain and the keyframes do not confirm."""
    size = (edited.shape[1], edited.shape[0])
    share = torch.from_numpy(cv2.resize(change.share, size, interpolation=cv2.INTER_LINEAR)).to(edited.device)
    left = (1 - share * (1 - belief))[..., None]
    return torch.where(left == 1, edited, reference + left * (edited - reference))


def _band(colours: Images, weights: Images, top: int) -> tuple[Tensor, ...]:
    """Sums over keyframes, row by row: alike, predicted, square of the residual, and weight."""
    rows = slice(top, min(top + _ROWS, weights.shape[1]))
    weight = weights[:, rows]
    if not weight.any():
        return (weight[0],) * 4
    values = colours[:, rows]
    residual = values[..., :3] - values[..., 3:]
    seen = weight.clamp(max=1).sum(0)
    if not residual.any():
        nothing = torch.zeros_like(seen)
        return nothing, nothing, nothing, seen
    total, mean = weight.sum(0), torch.einsum("khwc,khw->hwc", residual, weight)
    others = (total - weight).clamp(min=0)
    predicted = (mean - residual * weight[..., None]) / others.clamp(min=1e-3)[..., None]
    both = torch.minimum(weight, others).clamp(max=1) * (others > 0.05)
    alike, own = ((a * b).mean(-1) * both for a, b in ((residual, predicted), (predicted, predicted)))
    square = ((residual**2).mean(-1) * weight.clamp(max=1)).sum(0)
    return alike.sum(0), own.sum(0), square, seen


def _around(images: Tensor, reduction: int) -> Tensor:  # (C, H, W) -> the same, averaged over a neighbourhood
    size = images.shape[1:]
    small = F.avg_pool2d(images[None], reduction, ceil_mode=True, count_include_pad=False)
    for _ in range(2):
        small = F.avg_pool2d(small, 2 * (_AROUND // 2) + 1, 1, _AROUND // 2, count_include_pad=False)
    return F.interpolate(small, size=size, mode="bilinear", align_corners=False)[0]


def _ramp(values: Tensor, low: float, high: float) -> Tensor:
    return ((values - low) / (high - low)).clamp(0, 1)
