"""Gain and alignment matching of keyframes before they are merged: brightness and small shifts, in closed form.

Keyframes edited one by one differ in exposure and sit a texel aside. What all of them share is the edit and is left as
it is; only how each departs from their common mean is taken back, as far as texels that two of them saw tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from atlas.geometry.warp import sample

MOST_GAIN = 1.35
"""A keyframe is made at most so much brighter or darker: beyond that, it is meant."""
MOST_SHIFT = 3.0
"""Texels that a keyframe is moved by at most."""
_WORKING = 512  # texels per side, about, at which is measured
_DARK = 0.04  # colours below this say nothing about a gain
_FEW = 300.0  # texels of overlap at which a gain is believed by half
_SAMPLES = 40_000
_ROUNDS = 5
_WHOLE = 3  # of these, rounds that move a keyframe as a whole
_STILL = 0.05  # texels: a smaller shift is none


@dataclass
class Matched:
    """Matched keyframes, which agree better."""

    colours: Tensor
    """(K, H, W, C)"""
    gains: Tensor
    """(K, C): what each keyframe's colours were multiplied by."""
    shifts: Tensor
    """(K, 2, h, w) on a coarse grid, in texels of the atlas: colours were taken from so far to the right and below."""

    def moved(self, number: int, uv: Tensor) -> Tensor:  # (P, 2) -> (P, 2)
        """Move uv of the pixels of keyframe `number` to where they lie in the matched atlas."""
        height, width = self.colours.shape[1:3]
        if not self.shifts[number].any():
            return uv
        texels = sample(self.shifts[number].permute(1, 2, 0), uv)
        return uv - texels * (2 / uv.new_tensor([width, height]))


@torch.no_grad()
def match(
    colours: Tensor,  # (K, H, W, C)
    weights: Tensor,  # (K, H, W)
    *,
    gains: bool = True,
    shifts: bool = True,
) -> Matched:
    """Match keyframes to their common mean by gains and shifts. These depend on the colours alone, so edited and unedited
    keyframes that are the same stay the same."""
    factor = max(1, round(max(colours.shape[1:3]) / _WORKING))
    small, known = _reduced(colours, weights, factor)
    factors = relative_gains(small, known) if gains else small.new_ones(small.shape[:2])
    changed = colours * factors[:, None, None]
    moves = small.new_zeros(len(small), 2, 1, 1)
    if shifts:
        moves = relative_shifts(small * factors[:, :, None, None], known) * factor
        moves[moves.abs().amax((1, 2, 3)) < _STILL] = 0
        for number, move in enumerate(moves):
            if move.any():
                changed[number] = _moved(changed[number], move)
    return Matched(changed, factors, moves)


def relative_gains(colours: Tensor, weights: Tensor) -> Tensor:  # (K, C, h, w), (K, h, w) -> (K, C)
    """Solve for gains that bring keyframes to their common brightness, per channel; their logs sum to 0 before clamping.

    The median ratio of each pair over the texels that both saw, then least squares over all pairs.
    """
    count, channels = colours.shape[:2]
    system = colours.new_zeros(channels, count, count)
    right = colours.new_zeros(channels, count)
    for k, m in combinations(range(count), 2):
        both = torch.minimum(weights[k], weights[m]) > 0.5
        for channel in range(channels):
            one, other = colours[k, channel][both], colours[m, channel][both]
            bright = torch.minimum(one, other) > _DARK
            one, other = one[bright], other[bright]
            if not len(one):
                continue
            stride = max(1, len(one) // _SAMPLES)
            ratio = (one[::stride] / other[::stride]).log().median()
            trust = float(len(one)) / (len(one) + _FEW)
            system[channel, k, k] += trust
            system[channel, m, m] += trust
            system[channel, k, m] -= trust
            system[channel, m, k] -= trust
            right[channel, k] -= trust * ratio
            right[channel, m] += trust * ratio
    prior = 0.02 * torch.eye(count, device=colours.device)
    logs = torch.linalg.solve(system + prior, right).T
    limit = float(torch.tensor(MOST_GAIN).log())
    return logs.clamp(-limit, limit).exp()


def relative_shifts(colours: Tensor, weights: Tensor) -> Tensor:  # (K, C, h, w), (K, h, w) -> (K, 2, h', w')
    """Register keyframes by smooth shifts (x, y in texels) at which each fits the mean of the others; they are 0 on average.

    Lucas and Kanade's linear least squares over wide neighbourhoods, drawn towards no shift where there is little to see.
    """
    count, channels, height, width = colours.shape
    known = (weights > 0.5).to(colours.dtype)[:, None]
    soft = _blurred(colours * known, 1.5) / _blurred(known, 1.5).clamp(min=1e-3)
    inside = -F.max_pool2d(-known, 5, 1, 2)
    cells = max(16, max(height, width) // 8)
    grid = (max(1, round(height / cells * 2)), max(1, round(width / cells * 2)))
    shifts = colours.new_zeros(count, 2, *grid)
    for turn in range(_ROUNDS):
        moved = torch.stack([_planes_moved(soft[k], shifts[k]) for k in range(count)])
        total, number = (moved * inside).sum(0), inside.sum(0)
        for k in range(count):
            others = (number - inside[k]).clamp(min=0)
            target = (total - moved[k] * inside[k]) / others.clamp(min=1)
            weight = inside[k] * (others > 0)
            middle = (moved[k] + target) / 2
            dx, dy = _slopes(middle)
            error = target - moved[k]
            # A few colours that differ altogether must not pull: their weight falls with the error.
            size = error.abs().mean(0, keepdim=True)
            typical = size[weight > 0].median() if bool((weight > 0).any()) else size.new_ones(())
            weight = weight / (1 + (size / (3 * typical + 1e-4)) ** 2)
            products = torch.stack([(weight * p).sum(0) for p in (dx * dx, dx * dy, dy * dy, dx * error, dy * error)])
            # As a whole first; then each part may depart from that as far as it shows detail.
            if turn < _WHOLE:
                xx, xy, yy, xe, ye = products.mean((1, 2))[..., None, None]
                ridge = 1e-4 * (xx + yy) + 1e-8
            else:
                xx, xy, yy, xe, ye = (_pooled(product, cells, grid) for product in products)
                ridge = 2e-5 * channels
            xx, yy = xx + ridge, yy + ridge
            step = torch.stack([yy * xe - xy * ye, xx * ye - xy * xe]) / (xx * yy - xy * xy)
            shifts[k] += step.clamp(-1.5, 1.5)
        shifts -= shifts.mean(0, keepdim=True)
    return shifts.clamp(-MOST_SHIFT, MOST_SHIFT)


def _reduced(colours: Tensor, weights: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Shrink (K, C, h, w) and (K, h, w) to about the working size."""
    planes, known = colours.permute(0, 3, 1, 2), weights[:, None].clamp(max=1)
    if factor > 1:
        share = F.avg_pool2d(known, factor)
        planes = F.avg_pool2d(planes * known, factor) / share.clamp(min=1e-6)
        known = share
    return planes, known[:, 0]


def _pooled(product: Tensor, cells: int, grid: tuple[int, int]) -> Tensor:  # (h, w) -> (h', w')
    """Average over wide, overlapping neighbourhoods."""
    return F.interpolate(_blurred(product[None, None], cells / 2), grid, mode="area")[0, 0]


def _blurred(planes: Tensor, sigma: float) -> Tensor:
    """Blur (N, C, h, w) with a Gaussian, nothing beyond the border; wide ones at a smaller size."""
    if sigma > 6:
        factor = int(sigma // 3)
        height, width = planes.shape[2:]
        small = F.interpolate(planes, (max(1, height // factor), max(1, width // factor)), mode="area")
        return F.interpolate(_blurred(small, sigma / factor), (height, width), mode="bilinear", align_corners=False)
    from kornia.filters import gaussian_blur2d  # it takes a while to import

    size = 2 * max(1, round(3 * sigma)) + 1
    return gaussian_blur2d(planes, (size, size), (sigma, sigma), border_type="constant")


def _slopes(planes: Tensor) -> tuple[Tensor, Tensor]:  # (C, h, w) -> twice (C, h, w)
    padded = F.pad(planes[None], (1, 1, 1, 1), mode="replicate")[0]
    return (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2, (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2


def _planes_moved(planes: Tensor, shift: Tensor) -> Tensor:  # (C, h, w)
    return planes if not shift.any() else _moved(planes.permute(1, 2, 0), shift).permute(2, 0, 1)


def _moved(image: Tensor, shift: Tensor) -> Tensor:  # (H, W, C), (2, h, w) in texels of the image
    height, width = image.shape[:2]
    fine = F.interpolate(shift[None], (height, width), mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    x = (torch.arange(width, device=image.device) + 0.5 + fine[..., 0]) * (2 / width) - 1
    y = (torch.arange(height, device=image.device)[:, None] + 0.5 + fine[..., 1]) * (2 / height) - 1
    grid = torch.stack([x, y], -1)
    sampled = F.grid_sample(
        image.permute(2, 0, 1)[None], grid[None], mode="bicubic", padding_mode="border", align_corners=False
    )
    return sampled[0].permute(1, 2, 0)
