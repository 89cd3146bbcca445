"""Merging partial atlases: coverage-weighted mean, median and robust mean. A texel that one keyframe saw keeps its colour."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from atlas.geometry.filling import push_pull

_ODD = 5.0  # times the usual departure from the median: there a colour's weight is halved
_AGREE = 6e-3  # departures as small as this are none
_AROUND = 15  # texels
_ROWS = 64  # the median sorts this many rows at a time: memory stays small


def merged_coverage(coverages: Tensor) -> Tensor:
    """Merge coverages, (K, H, W) -> (H, W): what the best keyframe covers."""
    return coverages.amax(0)


def weighted_mean(
    colours: Tensor,  # (K, H, W, C)
    weights: Tensor,  # (K, H, W)
) -> Tensor:  # (H, W, C)
    """Average the keyframes weighted by what each saw; continued outwards where none saw anything."""
    total = weights.sum(0)
    mean = torch.einsum("khwc,khw->hwc", colours, weights) / total.clamp(min=1e-12)[..., None]
    return push_pull(mean, total * 1e3)


def weighted_median(
    colours: Tensor,  # (K, H, W, C)
    weights: Tensor,  # (K, H, W)
) -> Tensor:  # (H, W, C)
    """Take the weighted median of each channel: half of the weight lies on either side (midpoint on an exact tie).

    Two keyframes of equal weight give their mean, one alone its own colour; weight 0 has no vote.
    """
    total = weights.sum(0)
    rows = range(0, colours.shape[1], _ROWS)
    median = torch.cat([_median(colours[:, r : r + _ROWS], weights[:, r : r + _ROWS]) for r in rows])
    return push_pull(median, total * 1e3)


def robust_weights(colours: Tensor, weights: Tensor) -> Tensor:  # (K, H, W, C), (K, H, W) -> (K, H, W)
    """Weight keyframes for a robust mean: less where a colour departs from the median by more than they usually do around."""
    if len(colours) < 3:
        return weights  # of two, neither is the odd one
    away, usual = torch.empty_like(weights), torch.empty_like(weights[0])
    for start in range(0, colours.shape[1], _ROWS):
        rows = slice(start, start + _ROWS)
        part, share = colours[:, rows], weights[:, rows]
        away[:, rows] = (part - _median(part, share)).abs().mean(-1)
        usual[rows] = _median(away[:, rows, :, None], share)[..., 0]
    usual = F.avg_pool2d(usual[None, None], _AROUND, 1, _AROUND // 2, count_include_pad=False)[0, 0] + _AGREE
    return weights / (1 + (away / (_ODD * usual)) ** 2)


def _median(colours: Tensor, weights: Tensor) -> Tensor:
    ordered, order = colours.sort(0)
    share = torch.gather(weights[..., None].expand_as(colours), 0, order)
    below = share.cumsum(0)
    half = below[-1:] / 2
    tolerance = 1e-6 * below[-1:]
    low = (below >= half - tolerance).float().argmax(0, keepdim=True)
    high = (below > half + tolerance).float().argmax(0, keepdim=True)
    return ((ordered.gather(0, low) + ordered.gather(0, high)) / 2)[0]
