"""Merging partial atlases: coverage-weighted mean, median and robust mean. A texel that one keyframe saw keeps its colour.

All of them take a band of rows of every keyframe at a time, from memory or from a file (`aggregate.stack`): how many
keyframes there are makes no difference to the memory, nor to the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from aggregate.stack import FEW, Images
from atlas.geometry.filling import push_pull
from atlas.system.parallel import in_order

_ODD = 5.0  # times the usual departure from the median: there a colour's weight is halved
_AGREE = 6e-3  # departures as small as this are none
_AROUND = 15  # texels
_ROWS = 64  # of a band, where there are few keyframes; a median sorts them all at once
_TOGETHER = 2  # bands at once, whatever the machine: each holds copies of all keyframes


def weighted_mean(
    colours: Images,  # (K, H, W, C)
    weights: Images,  # (K, H, W)
    robust: Robust | None = None,
) -> Tensor:  # (H, W, C)
    """Average the keyframes weighted by what each saw; continued outwards where none saw anything.

    robust: weights them by their agreement as well.
    """
    mean, total = averaged(colours, weights, robust)
    return push_pull(mean, total * 1e3)


def averaged(
    colours: Images,  # (K, H, W, C)
    weights: Images,  # (K, H, W)
    robust: Robust | None = None,
) -> tuple[Tensor, Tensor]:  # (H, W, C), (H, W)
    """Average the keyframes as `weighted_mean` does, 0 where none saw anything, and sum up their weights."""

    def band(rows: slice) -> tuple[Tensor, Tensor]:
        share = weights[:, rows]
        if not share.any():  # of an atlas, a square, a clip often fills less than half
            return share.new_zeros(*share.shape[1:], colours.shape[3]), share[0]
        part = colours[:, rows]
        if robust is not None:
            share = robust.weights(part, share, (rows, slice(None)))
        total = share.sum(0)
        return torch.einsum("khwc,khw->hwc", part, share) / total.clamp(min=1e-12)[..., None], total

    means, totals = zip(*in_order(band, _bands(colours), _TOGETHER), strict=True)
    return torch.cat(means), torch.cat(totals)


def weighted_median(
    colours: Images,  # (K, H, W, C)
    weights: Images,  # (K, H, W)
) -> Tensor:  # (H, W, C)
    """Take the weighted median of each channel: half of the weight lies on either side (midpoint on an exact tie).

    Two keyframes of equal weight give their mean, one alone its own colour; weight 0 has no vote.
    """
    medians, totals = [], []
    for rows in _bands(colours):
        share = weights[:, rows]
        medians.append(_median(colours[:, rows], share))
        totals.append(share.sum(0))
    return push_pull(torch.cat(medians), torch.cat(totals) * 1e3)


@dataclass(frozen=True)
class Robust:
    """How a robust mean weighs keyframes: less where a colour departs from the median by more than they usually do around."""

    median: Tensor
    """(H, W, C)"""
    usual: Tensor
    """(H, W) the usual departure."""

    @classmethod
    def of(cls, colours: Images, weights: Images) -> Robust:  # (K, H, W, C), (K, H, W)
        """Measure median and usual departure of at least three keyframes: of two, neither is the odd one."""
        height, width, channels = colours.shape[1:]
        median, usual = weights[0].new_zeros(height, width, channels), weights[0].new_zeros(height, width)
        bands = list(_bands(colours))
        reach = math.ceil((_AROUND // 2) / (bands[0].stop - bands[0].start))
        counts = [bool(weights[:, rows].any()) for rows in bands]
        # What no keyframe saw is averaged with what is near it.
        near = [rows for number, rows in enumerate(bands) if any(counts[max(number - reach, 0) : number + reach + 1])]

        def measured(rows: slice) -> tuple[Tensor, Tensor]:
            part, share = colours[:, rows], weights[:, rows]
            middle = _median(part, share)
            return middle, _median(_departures(part, middle)[..., None], share)[..., 0]

        for rows, found in zip(near, in_order(measured, near, _TOGETHER), strict=True):
            median[rows], usual[rows] = found
        around = F.avg_pool2d(usual[None, None], _AROUND, 1, _AROUND // 2, count_include_pad=False)[0, 0]
        return cls(median, around + _AGREE)

    def weights(
        self,
        colours: Tensor,  # (K, h, w, C)
        weights: Tensor,  # (K, h, w)
        part: tuple[slice, slice],  # rows and columns that these are of
    ) -> Tensor:  # (K, h, w)
        """Lower the weights of what departs from the median: half is left at five times the usual departure."""
        return weights / (1 + (_departures(colours, self.median[part]) / (_ODD * self.usual[part])) ** 2)


def _departures(colours: Tensor, median: Tensor) -> Tensor:  # (K, h, w, C), (h, w, C) -> (K, h, w)
    return (colours - median).abs().mean(-1)


def _bands(images: Images) -> Iterator[slice]:
    """Cut the rows into bands: fewer at a time the more images there are."""
    count, height = images.shape[:2]
    rows = max(1, min(_ROWS, _ROWS * FEW // count))
    return (slice(start, min(start + rows, height)) for start in range(0, height, rows))


def _median(colours: Tensor, weights: Tensor) -> Tensor:
    ordered, order = colours.sort(0)
    share = torch.gather(weights[..., None].expand_as(colours), 0, order)
    below = share.cumsum(0)
    half, tolerance = below[-1] / 2, 1e-6 * below[-1]
    reached, passed = half - tolerance, half + tolerance
    # The first colour that reaches half of the weight, and the first that passes it: from behind, which argmax takes ten
    # times as long for.
    low, high = ordered[-1], torch.where(below[-1] > passed, ordered[-1], ordered[0])
    for number in range(len(ordered) - 2, -1, -1):
        low = torch.where(below[number] >= reached, ordered[number], low)
        high = torch.where(below[number] > passed, ordered[number], high)
    return (low + high) / 2
