"""Gain and alignment matching of keyframes before they are merged: brightness and small shifts, in closed form.

Keyframes edited one by one differ in exposure and sit a texel aside. What all of them share is the edit and is left as
it is; only how each departs from their common mean is taken back, as far as texels that two of them saw tell. Work grows
with the number of keyframes and not its square, and memory does not: of many, gains are measured between some pairs
(`atlas.maps.pairs`), and shifts against the mean of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import combinations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from aggregate.stack import FEW, Images
from atlas.geometry.warp import sample
from atlas.maps.pairs import compared
from atlas.system.progress import Progress

MOST_GAIN = 1.35
"""A keyframe is made at most so much brighter or darker: beyond that, it is meant."""
MOST_SHIFT = 3.0
"""Texels, of the size that is measured at, that a keyframe is moved by at most."""
_DARK = 0.04  # colours below this say nothing about a gain
_FEW_TEXELS = 300.0  # of overlap, at which a gain is believed by half
_SAMPLES = 40_000
_ROUNDS = 5
_WHOLE = 3  # of these, rounds that move a keyframe as a whole
_STILL = 0.05  # texels: a smaller shift is none


@dataclass
class Matched:
    """What makes keyframes agree better."""

    gains: Tensor
    """(K, C): what each keyframe's colours are multiplied by."""
    shifts: Tensor
    """(K, 2, h, w) on a coarse grid, in texels of the atlas: colours are taken from so far to the right and below."""

    def applied(self, number: int, image: Tensor) -> Tensor:  # (H, W, C) -> (H, W, C)
        """Match the colours of keyframe `number`, in the atlas."""
        image, shift = image * self.gains[number], self.shifts[number]
        return _moved(image, shift) if shift.any() else image

    def moved(self, number: int, uv: Tensor, size: tuple[int, int]) -> Tensor:  # (P, 2) -> (P, 2)
        """Move uv of the pixels of keyframe `number` to where they lie in the matched atlas, of (H, W) texels."""
        if not self.shifts[number].any():
            return uv
        texels = sample(self.shifts[number].permute(1, 2, 0), uv)
        return uv - texels * (2 / uv.new_tensor([size[1], size[0]]))


@torch.no_grad()
def match(
    colours: Images,  # (K, h, w, C)
    weights: Images,  # (K, h, w)
    texels: int = 1,  # of the atlas, along one of these
    *,
    gains: bool = True,
    shifts: bool = True,
    quiet: bool = True,
) -> Matched:
    """Match keyframes to their common mean by gains and shifts, which are not applied yet. They depend on the colours alone,
    so edited and unedited keyframes that are the same stay the same.

    `colours` are overwritten with what shifts are measured on.
    """
    count, channels = colours.shape[0], colours.shape[3]
    factors = relative_gains(colours, weights) if gains else colours[0].new_ones(count, channels)
    moves = colours[0].new_zeros(count, 2, 1, 1)
    if shifts:
        _soften(colours, weights, factors)
        moves = relative_shifts(colours, weights, quiet=quiet) * texels
        moves[moves.abs().amax((1, 2, 3)) < _STILL] = 0
    return Matched(factors, moves)


def relative_gains(colours: Images, weights: Images) -> Tensor:  # (K, h, w, C), (K, h, w) -> (K, C)
    """Solve for gains that bring keyframes to their common brightness, per channel; their logs sum to 0 before clamping.

    The median ratio of each pair over the texels that both saw, then least squares over all pairs.
    """
    count, channels = colours.shape[0], colours.shape[3]
    system = colours[0].new_zeros(channels, count, count)
    right = colours[0].new_zeros(channels, count)
    read = lru_cache(FEW)(lambda number: (colours[number], weights[number]))
    for k, m in _pairs(count):
        (one_colour, one_weight), (other_colour, other_weight) = read(k), read(m)
        both = torch.minimum(one_weight, other_weight) > 0.5
        for channel in range(channels):
            one, other = one_colour[..., channel][both], other_colour[..., channel][both]
            bright = torch.minimum(one, other) > _DARK
            one, other = one[bright], other[bright]
            if not len(one):
                continue
            stride = max(1, len(one) // _SAMPLES)
            ratio = (one[::stride] / other[::stride]).log().median()
            trust = float(len(one)) / (len(one) + _FEW_TEXELS)
            system[channel, k, k] += trust
            system[channel, m, m] += trust
            system[channel, k, m] -= trust
            system[channel, m, k] -= trust
            right[channel, k] -= trust * ratio
            right[channel, m] += trust * ratio
    prior = 0.02 * torch.eye(count, device=right.device)
    logs = torch.linalg.solve(system + prior, right).T
    limit = float(torch.tensor(MOST_GAIN).log())
    return logs.clamp(-limit, limit).exp()


def _pairs(count: int) -> list[tuple[int, int]]:
    if count <= FEW:
        return list(combinations(range(count), 2))
    return [(other, place) for place, others in enumerate(compared(count)) for other in others]


def relative_shifts(
    colours: Images,  # (K, h, w, C), softened
    weights: Images,  # (K, h, w)
    *,
    quiet: bool = True,
) -> Tensor:  # (K, 2, h', w')
    """Register keyframes by smooth shifts (x, y in texels) at which each fits the mean of the others; they are 0 on average.

    Lucas and Kanade's linear least squares over wide neighbourhoods, drawn towards no shift where there is little to see.
    """
    count, height, width, channels = colours.shape
    cells = max(16, max(height, width) // 8)
    grid = (max(1, round(height / cells * 2)), max(1, round(width / cells * 2)))
    shifts = colours[0].new_zeros(count, 2, *grid)
    for turn in Progress(range(_ROUNDS), desc="match", unit="round", leave=False, delay=1, quiet=quiet):
        placed = lru_cache(FEW)(partial(_placed, colours, weights, shifts.clone()))  # of many, each is made twice
        total, seen = shifts.new_zeros(channels, height, width), shifts.new_zeros(1, height, width)
        for k in range(count):
            moved, inside = placed(k)
            total += moved * inside
            seen += inside
        for k in range(count):
            shifts[k] += _step(*placed(k), total, seen, (cells, grid) if turn >= _WHOLE else None)
        shifts -= shifts.mean(0, keepdim=True)
    return shifts.clamp(-MOST_SHIFT, MOST_SHIFT)


def _soften(colours: Images, weights: Images, gains: Tensor) -> None:  # (K, h, w, C), (K, h, w), (K, C)
    """Even out the gains and blur what was seen a little, in place, a few keyframes at a time."""
    for start in range(0, len(gains), FEW):
        some = range(start, min(start + FEW, len(gains)))
        planes = torch.stack([colours[number] * gains[number] for number in some]).permute(0, 3, 1, 2)
        known = torch.stack([weights[number] > 0.5 for number in some])[:, None].to(planes.dtype)
        soft = _blurred(planes * known, 1.5) / _blurred(known, 1.5).clamp(min=1e-3)
        for number, image in zip(some, soft, strict=True):
            colours[number] = image.permute(1, 2, 0)


def _placed(colours: Images, weights: Images, shifts: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Move a keyframe, (C, h, w), and tell where it is well inside of what was seen, (1, h, w)."""
    known = (weights[number] > 0.5).to(shifts.dtype)[None, None]
    moved = _planes_moved(colours[number].permute(2, 0, 1), shifts[number]).contiguous()
    return moved, -F.max_pool2d(-known, 5, 1, 2)[0]


def _step(
    moved: Tensor,  # (C, h, w) a keyframe
    inside: Tensor,  # (1, h, w)
    total: Tensor,  # (C, h, w) the sum of all
    seen: Tensor,  # (1, h, w)
    parts: tuple[int, tuple[int, int]] | None,  # width of a neighbourhood and their (h', w'); None: one step for the whole
) -> Tensor:  # (2, h', w') or (2, 1, 1)
    """Compute one step of a keyframe towards the mean of the others."""
    others = (seen - inside).clamp(min=0)
    target = (total - moved * inside) / others.clamp(min=1)
    weight = inside * (others > 0)
    middle = (moved + target) / 2
    dx, dy = _slopes(middle)
    error = target - moved
    # A few colours that differ altogether must not pull: their weight falls with the error.
    size = error.abs().mean(0, keepdim=True)
    typical = size[weight > 0].median() if bool((weight > 0).any()) else size.new_ones(())
    weight = weight / (1 + (size / (3 * typical + 1e-4)) ** 2)
    products = torch.stack([(weight * p).sum(0) for p in (dx * dx, dx * dy, dy * dy, dx * error, dy * error)])
    # As a whole first; then each part may depart from that as far as it shows detail.
    if parts is None:
        xx, xy, yy, xe, ye = products.mean((1, 2))[..., None, None]
        ridge: Tensor | float = 1e-4 * (xx + yy) + 1e-8
    else:
        xx, xy, yy, xe, ye = (_pooled(product, *parts) for product in products)
        ridge = 2e-5 * len(moved)
    xx, yy = xx + ridge, yy + ridge
    step = torch.stack([yy * xe - xy * ye, xx * ye - xy * xe]) / (xx * yy - xy * xy)
    return step.clamp(-1.5, 1.5)


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
