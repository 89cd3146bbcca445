"""Partial atlases: one frame splatted into a layer's atlas, with coverage beside colour.

Each pixel is a small sheet in the atlas. Where the atlas is larger than the frame (a pixel spans several texels)
the frame is supersampled until its samples lie closer than a texel, so that a covered region has no holes;
every sample weighs its own area in texels, so that a texel lying under the sheet collects about its opacity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from atlas.warp import sample, splat

_SPACING = 1.0  # texels between samples, at most
_MOST_SAMPLES = 6_000_000
_FULL = 0.25  # a texel that collected this much opacity counts as seen
_GROW = 2.0  # pixels by which coverage outgrows what was seen: the layer's edge moves by fractions of a pixel


@dataclass
class Partial:
    """What one keyframe says about the atlas."""

    colour: Tensor
    """(H, W, C). Defined everywhere: carried on outwards where nothing was seen."""
    weight: Tensor
    """(H, W) how much was seen of each texel, times where the edit applies: the weight in an average."""
    seen: Tensor
    """(H, W) in [0, 1]: whether the keyframe saw the texel, smooth at the edge."""
    coverage: Tensor
    """(H, W) in [0, 1]: seen, times where the edit applies."""


def partial_atlas(
    values: Tensor,  # (H, W, C) colours of the frame, light removed
    uv: Tensor,  # (H, W, 2)
    opacity: Tensor,  # (H, W) visible opacity of the layer
    applies: Tensor,  # (H, W) where the edit applies, [0, 1]
    size: tuple[int, int],  # (H, W) of the atlas
    *,
    refine: int = 3,
) -> Partial:
    """The frame in the atlas.

    refine: rounds of sampling the result back into the frame and splatting what is missing; each sharpens what
    the splat's bilinear kernel blurred. Linear in `values`, with the same coefficients for every channel.
    """
    values, uv, opacity, applies = _cropped(opacity, values, uv, opacity, applies)
    if opacity.numel() == 0:
        empty = values.new_zeros(size)
        return Partial(values.new_zeros(*size, values.shape[-1]), empty, empty, empty)
    step, area = _texel_steps(uv, size)
    visible = opacity > 0
    spread = float(torch.quantile(_subset(step[visible]), 0.98))
    factor = max(1, min(math.ceil(spread / _SPACING), math.isqrt(max(1, _MOST_SAMPLES // opacity.numel()))))
    fine_uv, fine_weight = _finer(uv, factor, "bilinear"), _finer((opacity * area)[..., None], factor, "bilinear")[..., 0]
    fine_weight = fine_weight.clamp(min=0) / factor**2
    fine_applies = _finer(applies[..., None], factor, "bilinear")
    fine_values = _finer(values, factor, "bicubic") if factor > 1 else values

    total, collected = splat(torch.cat([fine_values * fine_applies, fine_applies], -1), fine_uv, fine_weight, size)
    weight = total[..., -1]
    colour = total[..., :-1] / weight.clamp(min=1e-8)[..., None]
    gaps = max(0, math.ceil(spread / factor / _SPACING) - 1)  # only where the cap on samples was met
    seen = _closed((_mean3(collected) / _FULL).clamp(0, 1), gaps)
    colour = push_pull(colour, weight / _FULL)
    for _ in range(refine):
        missing = values - sample(colour, uv)
        extra, _ = splat(_finer(missing, factor, "bilinear") * fine_applies, fine_uv, fine_weight, size)
        colour = colour + extra / weight.clamp(min=_FULL)[..., None]
    if refine:
        colour = push_pull(colour, weight / _FULL)

    applied = push_pull(weight[..., None] / collected.clamp(min=1e-8)[..., None], collected / _FULL)[..., 0].clamp(0, 1)
    seen = _grown(seen, _GROW * float(_subset(step[visible]).median()))
    coverage = seen * applied
    return Partial(colour, weight.clamp(max=1) + 1e-3 * coverage, seen, coverage)


def push_pull(
    values: Tensor,  # (H, W, C)
    weight: Tensor,  # (H, W), 1 or more where the value is known, 0 where it is not
) -> Tensor:  # (H, W, C)
    """Fill what is not known from what is known around it (Gortler et al. 1996); what is known stays."""
    known = weight.clamp(0, 1)[None, None]
    levels = [(values.permute(2, 0, 1)[None], known)]
    while max(levels[-1][0].shape[2:]) > 1:
        colour, share = levels[-1]
        pad = (0, share.shape[3] % 2, 0, share.shape[2] % 2)
        colour, share = F.pad(colour * share, pad), F.pad(share, pad)
        total, count = F.avg_pool2d(colour, 2) * 4, F.avg_pool2d(share, 2) * 4
        levels.append((total / count.clamp(min=1e-8), count.clamp(max=1)))
    filled = levels.pop()[0]
    for colour, share in reversed(levels):
        coarse = F.interpolate(filled, scale_factor=2, mode="bilinear", align_corners=False)
        filled = torch.lerp(coarse[..., : colour.shape[2], : colour.shape[3]], colour, share)
    return filled[0].permute(1, 2, 0).contiguous()


def _cropped(opacity: Tensor, *images: Tensor) -> list[Tensor]:
    """`images` cut to the box where opacity is above 0, and 2 pixels more."""
    rows, columns = torch.nonzero(opacity.any(1))[:, 0], torch.nonzero(opacity.any(0))[:, 0]
    if not len(rows):
        return [image[:0, :0] for image in images]
    top, left = max(int(rows[0]) - 2, 0), max(int(columns[0]) - 2, 0)
    return [image[top : int(rows[-1]) + 3, left : int(columns[-1]) + 3].float() for image in images]


def _texel_steps(uv: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:  # both (H, W)
    """Texels between neighbouring pixels (the larger of both directions), and a pixel's area in texels.

    A jump of the mapping (a fold, another side of the object) is no stretched sheet: steps far above the usual
    one count as the usual one.
    """
    texel = uv * (uv.new_tensor([size[1], size[0]]) / 2)
    dx = _difference(texel, 1)
    dy = _difference(texel, 0)
    step = torch.maximum(dx.norm(dim=-1), dy.norm(dim=-1))
    area = (dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0]).abs()
    usual, usual_area = _subset(step.flatten()).median(), _subset(area.flatten()).median()
    jump = step > 8 * usual.clamp(min=0.25)
    return torch.where(jump, usual, step), torch.where(jump, usual_area, area.clamp(min=1e-3))


def _difference(values: Tensor, dim: int) -> Tensor:
    """Central difference along `dim`, one-sided at the border; zeros where there is a single pixel."""
    return torch.gradient(values, dim=dim)[0] if values.shape[dim] > 1 else torch.zeros_like(values)


def _subset(values: Tensor) -> Tensor:
    return values[:: max(1, len(values) // 100_000)]


def _finer(image: Tensor, factor: int, mode: str) -> Tensor:
    if factor == 1:
        return image
    planes = image.permute(2, 0, 1)[None]
    return F.interpolate(planes, scale_factor=factor, mode=mode, align_corners=False)[0].permute(1, 2, 0)


def _mean3(image: Tensor) -> Tensor:
    return F.avg_pool2d(image[None, None], 3, 1, 1, count_include_pad=False)[0, 0]


def _closed(image: Tensor, radius: int) -> Tensor:
    """Holes up to `radius` texels wide closed (greyscale closing)."""
    if radius < 1:
        return image
    return -_highest(-_highest(image, radius), radius)


def _highest(image: Tensor, radius: int) -> Tensor:
    return F.max_pool2d(image[None, None], 2 * radius + 1, 1, radius)[0, 0]


def _grown(image: Tensor, by: float) -> Tensor:
    """`image` grown outwards by about `by` texels, falling off smoothly."""
    radius = int(min(max(round(by), 1), 16))
    return torch.maximum(image, F.avg_pool2d(_highest(image, radius)[None, None], 3, 1, 1, count_include_pad=False)[0, 0])
