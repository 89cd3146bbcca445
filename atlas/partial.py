"""Partial atlases: one frame in a layer's atlas, with coverage beside colour.

Where the atlas is finer than the frame, each texel under the frame's mesh of pixels looks its colour up in the frame:
no holes, and nothing blurred. Where pixels lie closer than texels these would skip some of them, so there the pixels
are splatted and averaged. Both are weighted by opacity, so that what shows through at an edge has no say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from atlas.rasterise import Inverse, inverse_map
from atlas.warp import sample, splat

_SPACING = 1.0  # texels between splatted samples, at most
_MOST_SAMPLES = 6_000_000
_CLOSE = (0.5, 0.8)  # texels between neighbouring pixels: nearer than the first they are averaged, beyond the second looked up
_FULL = 0.25  # a texel that collected this much opacity counts as seen
_MOST_GROWN = 16  # texels
_FADE = 4  # texels, even
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
    refine: int = 1,
) -> Partial:
    """The frame in the atlas.

    refine: rounds of sampling the result back into the frame and splatting what is missing; each sharpens what
    the splat's bilinear kernel blurred. Linear in `values`, with the same coefficients for every channel.
    """
    values, uv, opacity, applies = _cropped(opacity, values, uv, opacity, applies)
    if opacity.numel() == 0:
        empty = values.new_zeros(size)
        return Partial(values.new_zeros(*size, values.shape[-1]), empty, empty, empty)
    steps = _texel_steps(uv, size)
    step = float(_subset(steps.longer[opacity > 0]).median())
    sheet = _Sheet(uv, opacity, applies, steps, size)
    box = sheet.box(margin=math.ceil(min(_GROW * step, _MOST_GROWN)) + 3 * _FADE)
    total, weight, collected = (_cut(image, box) for image in sheet.spread(values))
    colour = push_pull(total / weight.clamp(min=1e-8)[..., None], weight / _FULL)
    for _ in range(refine):
        missing = values - sample(colour, _within(uv, box, size))
        extra = _cut(sheet.spread(missing)[0], box)
        colour = colour + extra / weight.clamp(min=_FULL)[..., None]
    if refine:
        colour = push_pull(colour, weight / _FULL)

    applied = push_pull(weight[..., None] / collected.clamp(min=1e-8)[..., None], collected / _FULL)[..., 0].clamp(0, 1)
    seen = _grown((collected / _FULL).clamp(0, 1), _GROW * step)
    coverage = seen * applied
    weight = weight.clamp(max=1) + 1e-3 * coverage
    whole = (
        colour.reshape(-1, colour.shape[-1]).mean(0).expand(*size, -1).clone(),
        *(weight.new_zeros(size) for _ in range(3)),
    )
    for image, part in zip(whole, (colour, weight, seen, coverage), strict=True):
        image[box] = part
    return Partial(*whole)


class _Sheet:
    """A frame's pixels as they lie in the atlas: looked up where texels are finer than pixels, splatted elsewhere."""

    def __init__(self, uv: Tensor, opacity: Tensor, applies: Tensor, steps: _Steps, size: tuple[int, int]) -> None:
        self.size, self.opacity, self.applies = size, opacity, applies
        self.inverse = inverse_map(uv, opacity, size)
        low, high = _CLOSE
        alone = ((steps.shorter - low) / (high - low)).clamp(0, 1)
        self.finely = self.inverse.look_up(alone[..., None], "bilinear")
        self.splatted = bool((alone[opacity > 0] < 1).any()) or not len(self.inverse.texel)
        if self.splatted:
            spread = float(torch.quantile(_subset(steps.longer[opacity > 0]), 0.98))
            most = math.isqrt(max(1, _MOST_SAMPLES // opacity.numel()))
            self.factor = max(1, min(math.ceil(spread / _SPACING), most))
            self.uv = _finer(uv, self.factor, "bilinear")
            area = (steps.area * opacity)[..., None]
            self.area = _finer(area, self.factor, "bilinear")[..., 0].clamp(min=0) / self.factor**2

    def box(self, margin: int) -> tuple[slice, slice]:
        """Rows and columns of the atlas that the sheet lies on, and `margin` more; all where it is splatted."""
        if self.splatted:
            return slice(0, self.size[0]), slice(0, self.size[1])
        row = torch.div(self.inverse.texel, self.size[1], rounding_mode="floor")
        column = self.inverse.texel - row * self.size[1]
        ends = [(int(index.min()), int(index.max()) + 1) for index in (row, column)]
        limits = zip(ends, self.size, strict=True)
        rows, columns = (slice(max(first - margin, 0), min(last + margin, side)) for (first, last), side in limits)
        return rows, columns

    def spread(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # (H, W, C) -> (N, N, C), (N, N), (N, N)
        """In the atlas: values times opacity times where the edit applies, that weight, and opacity alone."""
        weight = (self.opacity * self.applies)[..., None]
        found = self.inverse.look_up(torch.cat([values * weight, weight, self.opacity[..., None]], -1))
        # Beside an edge the bicubic weights may swing below nothing: there the bilinear ones serve.
        plain = torch.nonzero((found[:, -2:] < 0.05).any(-1))[:, 0]
        if len(plain):
            few = Inverse(self.inverse.texel[plain], self.inverse.x[plain], self.inverse.y[plain])
            found[plain] = few.look_up(torch.cat([values * weight, weight, self.opacity[..., None]], -1), "bilinear")
        if self.splatted:
            image = self.inverse.put(found * self.finely, self.size) + self._averaged(values) * (
                1 - self.inverse.put(self.finely, self.size)
            )
        else:
            image = self.inverse.put(found, self.size)
        return image[..., :-2], image[..., -2], image[..., -1]

    def _averaged(self, values: Tensor) -> Tensor:  # (H, W, C) -> (N, N, C + 2)
        applies = _finer(self.applies[..., None], self.factor, "bilinear")
        fine = _finer(values, self.factor, "bicubic") * applies
        total, collected = splat(torch.cat([fine, applies], -1), self.uv, self.area, self.size)
        return torch.cat([total, collected[..., None]], -1) / _mean3(collected).clamp(min=1)[..., None]


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


@dataclass
class _Steps:
    """How far neighbouring pixels lie apart in the atlas, in texels."""

    longer: Tensor  # (H, W), the larger of both directions
    shorter: Tensor
    area: Tensor  # of a pixel


def _texel_steps(uv: Tensor, size: tuple[int, int]) -> _Steps:
    """Steps far above the usual one count as the usual one: a jump of the mapping (a fold, another side of the object) is
    no stretched sheet."""
    texel = uv * (uv.new_tensor([size[1], size[0]]) / 2)
    dx = _difference(texel, 1)
    dy = _difference(texel, 0)
    across, down = dx.norm(dim=-1), dy.norm(dim=-1)
    longer, shorter = torch.maximum(across, down), torch.minimum(across, down)
    area = (dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0]).abs()
    usual, usual_short, usual_area = (_subset(image.flatten()).median() for image in (longer, shorter, area))
    jump = longer > 8 * usual.clamp(min=0.25)
    return _Steps(
        torch.where(jump, usual, longer),
        torch.where(jump, usual_short, shorter),
        torch.where(jump, usual_area, area.clamp(min=1e-3)),
    )


def _cut(image: Tensor, box: tuple[slice, slice]) -> Tensor:
    return image[box].contiguous()


def _within(uv: Tensor, box: tuple[slice, slice], size: tuple[int, int]) -> Tensor:
    """`uv` in the part `box` of the atlas."""
    starts = uv.new_tensor([box[1].start, box[0].start])
    sides = uv.new_tensor([box[1].stop - box[1].start, box[0].stop - box[0].start])
    return ((uv + 1) * (uv.new_tensor([size[1], size[0]]) / 2) - starts) * (2 / sides) - 1


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


def _highest(image: Tensor, radius: int) -> Tensor:
    return F.max_pool2d(image[None, None], 2 * radius + 1, 1, radius)[0, 0]


def _grown(image: Tensor, by: float) -> Tensor:
    """`image` grown outwards by about `by` texels, then fading out over a few: where an edit ends there is no seam."""
    radius = int(min(max(round(by), 1), _MOST_GROWN)) + _FADE
    faded = _highest(image, radius)[None, None]
    for _ in range(2):
        faded = F.avg_pool2d(faded, _FADE + 1, 1, _FADE // 2, count_include_pad=False)
    return torch.maximum(image, faded[0, 0])
