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

from atlas.geometry.boxes import EMPTY, bounding_box, sides_of
from atlas.geometry.filling import push_pull
from atlas.geometry.rasterise import Inverse, inverse_map, zeros
from atlas.geometry.warp import sample, splat

_SPACING = 1.0  # texels between splatted samples, at most
_MOST_SAMPLES = 6_000_000
_BESIDE = 2  # texels beyond a texel whose samples reach it, or one of its neighbours
_CLOSE = (0.5, 0.8)  # texels between neighbouring pixels: nearer than the first they are averaged, beyond the second looked up
_FULL = 0.25  # a texel that collected this much opacity counts as seen
_MIXED = 0.8  # of the opacity round about: a texel that collected less shows too much of what lies behind
_CARRIED = 0.05  # what a colour that was carried on to such a texel counts in an average
_NEAR = 4.0  # pixels that count as round about
_MOST_GROWN = 16  # texels
_FADE = 4  # texels, even
_GROW = 2.0  # pixels by which coverage outgrows what was seen: the layer's edge moves by fractions of a pixel


@dataclass
class Partial:
    """A partial atlas: what one keyframe says about the layer's atlas."""

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
    refine: int = 0,
) -> Partial:
    """Make the partial atlas of one frame: rasterised where texels are finer than pixels, splatted where they are coarser.

    refine: rounds of sampling the result back into the frame and spreading what is missing; each sharpens what sampling
    would blur. Linear in `values`, with the same coefficients for every channel.
    """
    values, uv, opacity, applies = _cropped(opacity, values, uv, opacity, applies)
    if opacity.numel() == 0:
        nothing = values.new_zeros(0, 0)
        return _whole(values[:0, :0], nothing, nothing, nothing, (slice(0), slice(0)), size)
    steps = _texel_steps(uv, size)
    step = float(_subset(steps.longer[opacity > 0]).median())
    box = _box(uv, opacity > 0, size, margin=math.ceil(min(_GROW * step, _MOST_GROWN)) + 3 * _FADE)
    uv, part = uv_within(uv, box, size), sides_of(box)
    sheet = _Sheet(uv, opacity, applies, steps, part)
    weight, collected = sheet.weight, sheet.collected
    colour, known = sheet.spread(values).div_(weight.clamp(min=1e-8)[..., None]), _known(weight, round(_NEAR * step))
    for _ in range(refine):
        missing = (values - sample(push_pull(colour, known), uv)) * sample(known[..., None], uv)
        colour += sheet.spread(missing).div_(weight.clamp(min=_FULL)[..., None])
    colour = push_pull(colour, known)

    applied = torch.ones_like(collected)
    if (applies < 1).any():
        applied = push_pull((weight / collected.clamp(min=1e-8))[..., None], collected / _FULL)[..., 0].clamp_(0, 1)
    seen = _grown((collected / _FULL).clamp(0, 1), _GROW * step)
    coverage = seen * applied
    weight = weight.clamp(max=1) * (_CARRIED + (1 - _CARRIED) * known) + 1e-3 * coverage
    return _whole(colour, weight, seen, coverage, box, size)


def _whole(
    colour: Tensor, weight: Tensor, seen: Tensor, coverage: Tensor, box: tuple[slice, slice], size: tuple[int, int]
) -> Partial:
    """Put a box of the atlas into the whole of it; nothing was seen of the rest."""
    around = _subset(colour.reshape(-1, colour.shape[-1])).mean(0) if colour.numel() else colour.new_zeros(colour.shape[-1])
    # Row by row: three numbers at a time would take three times as long.
    filled = around.repeat(size[1]).expand(size[0], -1).contiguous().view(*size, -1)
    images = [filled, *(zeros(size, colour) for _ in range(3))]
    for image, part in zip(images, (colour, weight, seen, coverage), strict=True):
        image[box] = part
    return Partial(*images)


def _known(weight: Tensor, radius: int) -> Tensor:
    """Measure how far a texel's colour is the layer's own, [0, 1]: at edges it is mixed with what lies behind."""
    fullest = _highest(weight, min(max(radius, 1), _MOST_GROWN)).clamp(min=_FULL)
    return ((weight / fullest - _MIXED) / (1 - _MIXED)).clamp_(0, 1)


class _Sheet:
    """A frame's pixels as they lie in the atlas: looked up where texels are finer than pixels, averaged elsewhere."""

    def __init__(self, uv: Tensor, opacity: Tensor, applies: Tensor, steps: _Steps, size: tuple[int, int]) -> None:
        self._size, self._inverse = size, inverse_map(uv, opacity, size)
        self._shares = torch.stack([opacity * applies, opacity] if (applies < 1).any() else [opacity], -1)
        looked_up = self._inverse.look_up(self._shares)
        # Beside an edge the bicubic weights may swing below nothing: there the bilinear ones serve.
        self._plain = torch.nonzero((looked_up < 0.05).any(-1))[:, 0]
        low, high = _CLOSE
        alone = ((steps.shorter - low) / (high - low)).clamp(0, 1)[..., None]
        self._average = None
        if (alone[opacity > 0] < 1).any() or not len(self._inverse.texel):
            self._alone = self._inverse.look_up(alone, "bilinear")
            self._averaged = 1 - self._inverse.put(self._alone, size)
            self._average = _Average(uv, opacity, applies, steps, self._averaged[..., 0] > 0)
        averages = self._average.shares if self._average else None
        shares = self._joined(self._mended(looked_up, self._shares), averages)
        self.weight, self.collected = shares[..., 0].contiguous(), shares[..., -1].contiguous()
        """(N, N) opacity that each texel collected, times where the edit applies; and without that."""

    def spread(self, values: Tensor) -> Tensor:  # (H, W, C) -> (N, N, C)
        """Spread values over the atlas, times `weight`."""
        weighted = values * self._shares[..., :1]
        averages = self._average.spread(values) if self._average else None
        return self._joined(self._mended(self._inverse.look_up(weighted), weighted), averages)

    def _mended(self, looked_up: Tensor, image: Tensor) -> Tensor:  # (M, C)
        if len(self._plain):
            place, inverse = self._plain, self._inverse
            looked_up[place] = Inverse(inverse.texel[place], inverse.x[place], inverse.y[place]).look_up(image, "bilinear")
        return looked_up

    def _joined(self, looked_up: Tensor, averages: Tensor | None) -> Tensor:  # (M, C), (N, N, C) -> (N, N, C)
        if averages is None:
            return self._inverse.put(looked_up, self._size)
        return self._inverse.put(looked_up * self._alone, self._size) + averages * self._averaged


class _Average:
    """A frame's pixels splatted, so close that no texel between them is missed: each texel is the mean of its pixels."""

    def __init__(self, uv: Tensor, opacity: Tensor, applies: Tensor, steps: _Steps, wanted: Tensor) -> None:
        """wanted: (N, N) bool, the texels whose mean counts. Only what falls on these, or beside them, is splatted."""
        spread = float(torch.quantile(_subset(steps.longer[opacity > 0]), 0.98))
        most = math.isqrt(max(1, _MOST_SAMPLES // opacity.numel()))
        factor = max(1, min(math.ceil(spread / _SPACING), most))
        self._size = wanted.shape[0], wanted.shape[1]
        places, area = (_finer(image, factor).flatten(0, 1) for image in (uv, (steps.area * opacity)[..., None]))
        beside = _highest(wanted.to(uv.dtype), _BESIDE) > 0
        kept = torch.nonzero(_looked_up(beside, places) & (area[:, 0] > 0))[:, 0]
        self._uv, self._area = places[kept], area[kept, 0] / factor**2
        self._places = _places_of(kept, factor, opacity.shape)
        self._applies = self._at(applies[..., None], "bilinear")
        weight, collected = splat(self._applies, self._uv, self._area, self._size)
        self._crowd = _mean_around(collected, 1).clamp(min=1)[..., None]
        self.shares = torch.cat([weight, collected[..., None]], -1) / self._crowd
        """(N, N, 2), as `_Sheet.weight` and `_Sheet.collected`."""

    def spread(self, values: Tensor) -> Tensor:  # (H, W, C) -> (N, N, C)
        fine = self._at(values, "bicubic") * self._applies
        return splat(fine, self._uv, self._area, self._size)[0] / self._crowd

    def _at(self, image: Tensor, mode: str) -> Tensor:  # (H, W, C) -> (M, C), at the samples
        planes = image.permute(2, 0, 1)[None]
        return F.grid_sample(planes, self._places, mode=mode, padding_mode="border", align_corners=False)[0, :, 0].T


def _looked_up(texels: Tensor, uv: Tensor) -> Tensor:  # (N, N), (M, 2) -> (M,)
    """Look up the texel in which each place lies, or the nearest."""
    height, width = texels.shape
    column, row = (((uv[:, i] + 1) * (side / 2)).long().clamp_(0, side - 1) for i, side in enumerate((width, height)))
    return texels.flatten()[row * width + column]


def _places_of(number: Tensor, factor: int, shape: torch.Size) -> Tensor:  # (m,) -> (1, 1, m, 2) as grid_sample counts
    """Find where samples lie in the frame, of (H, W) pixels, each of which has factor x factor of them."""
    height, width = shape[0] * factor, shape[1] * factor
    row, column = torch.div(number, width, rounding_mode="floor"), number % width
    return torch.stack([(2 * column + 1) / width - 1, (2 * row + 1) / height - 1], -1)[None, None]


def _cropped(opacity: Tensor, *images: Tensor) -> list[Tensor]:
    """Crop `images` to the box where opacity is above 0, and 2 pixels more."""
    box = bounding_box(opacity, 2) or EMPTY
    return [image[box].float() for image in images]


@dataclass
class _Steps:
    """How far neighbouring pixels lie apart in the atlas, in texels."""

    longer: Tensor  # (H, W), the larger of both directions
    shorter: Tensor
    area: Tensor  # of a pixel


def _texel_steps(uv: Tensor, size: tuple[int, int]) -> _Steps:
    """Measure the steps between neighbouring pixels. Those far above the usual one count as the usual one: a jump of the
    mapping (a fold, another side of the object) is no stretched sheet."""
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


def _box(uv: Tensor, visible: Tensor, size: tuple[int, int], margin: int) -> tuple[slice, slice]:  # (H, W, 2), (H, W)
    """Find the box of the atlas that holds what is visible, and `margin` more."""
    slices = []
    for axis, side in enumerate(size):
        place = uv[..., 1 - axis]
        ends = torch.where(visible, place, 2.0).amin(), torch.where(visible, place, -2.0).amax()
        first, last = ((float(end) + 1) * side / 2 for end in ends)
        slices.append(slice(*(min(max(texel, 0), side) for texel in (math.floor(first) - margin, math.ceil(last) + margin))))
    return slices[0], slices[1]


def uv_within(uv: Tensor, box: tuple[slice, slice], size: tuple[int, int]) -> Tensor:
    """Convert `uv` of the atlas to uv of its part `box`."""
    starts = uv.new_tensor([box[1].start, box[0].start])
    sides = uv.new_tensor(sides_of(box)[::-1])
    return ((uv + 1) * (uv.new_tensor([size[1], size[0]]) / 2) - starts) * (2 / sides) - 1


def _difference(values: Tensor, dim: int) -> Tensor:
    """Take central differences along `dim`, one-sided at the border; zeros where there is a single pixel."""
    return torch.gradient(values, dim=dim)[0] if values.shape[dim] > 1 else torch.zeros_like(values)


def _subset(values: Tensor) -> Tensor:
    return values[:: max(1, len(values) // 100_000)]


def _finer(image: Tensor, factor: int) -> Tensor:
    if factor == 1:
        return image
    planes = image.permute(2, 0, 1)[None]
    return F.interpolate(planes, scale_factor=factor, mode="bilinear", align_corners=False)[0].permute(1, 2, 0)


def _highest(image: Tensor, radius: int) -> Tensor:
    """Dilate (a maximum filter): the highest of each texel's square of 2 * radius + 1 texels a side; of values from 0 on.

    Windows are joined from halves: pooling takes up to forty times as long.
    """
    for dim in (0, 1):
        image, width, side = _padded(image, radius, dim), 1, 2 * radius + 1
        while width < side:
            step = min(width, side - width)
            length = image.shape[dim] - step
            image, width = torch.maximum(image.narrow(dim, 0, length), image.narrow(dim, step, length)), width + step
    return image


def _mean_around(image: Tensor, radius: int) -> Tensor:
    """Blur with a box filter of 2 * radius + 1 texels a side, as far as that lies in the image."""
    for dim, side in enumerate(image.shape):
        padded = _padded(image, radius, dim)
        image = padded.narrow(dim, 0, side).clone()
        for shift in range(1, 2 * radius + 1):
            image += padded.narrow(dim, shift, side)
    rows, columns = (_within_border(side, radius, image) for side in image.shape)
    return image.div_(rows[:, None]).div_(columns)


def _within_border(side: int, radius: int, like: Tensor) -> Tensor:  # (side,)
    """Count how many of the 2 * radius + 1 places around each of `side` places there are."""
    place = torch.arange(side, device=like.device)
    return ((place + radius).clamp(max=side - 1) - (place - radius).clamp(min=0) + 1).to(like.dtype)


def _padded(image: Tensor, radius: int, dim: int) -> Tensor:
    """Pad with zeros before and after along `dim`."""
    return F.pad(image, (0, 0, radius, radius) if dim == 0 else (radius, radius))


def _grown(image: Tensor, by: float) -> Tensor:
    """Grow `image` outwards by about `by` texels, then fade it out over a few: where an edit ends there is no seam."""
    radius = int(min(max(round(by), 1), _MOST_GROWN)) + _FADE
    faded = _highest(image, radius)
    for _ in range(2):
        faded = _mean_around(faded, _FADE // 2)
    return torch.maximum(image, faded)
