"""Rasterisation of a frame into an atlas: which place of the frame does each texel show?

The pixel grid is a mesh of quads, two triangles each, spanned between the pixels' centres and drawn in the atlas.
Every texel whose centre lies under a triangle gets its place in the frame by the triangle's barycentric coordinates:
no holes while two neighbouring pixels lie fewer than 96 texels apart (quads beyond that are not drawn), nothing outside
of what the frame shows. Where the mapping folds the quad of the highest opacity wins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import itemgetter

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

_EDGE = 1e-4  # of a pixel: a texel on an edge belongs to both triangles rather than to none
_GROUPS = (2, 3, 4, 6, 9, 14, 24, 48, 96)  # texels per side under a quad: quads of one group are drawn together
_TOGETHER = 65_536  # quads at a time: they stay in the processor's cache
_JUMP = 8.0  # times the usual step: the mapping tears here, there is no sheet between the two pixels


@dataclass
class Inverse:
    """Inverse of a mapping: where in the frame the texels that it covers are to be found."""

    texel: Tensor
    """(M,) flat indices into the atlas, each at most once."""
    x: Tensor
    """(M,) column in the frame; pixel i has its centre at i."""
    y: Tensor
    """(M,) row in the frame."""

    def look_up(self, image: Tensor, mode: str = "bicubic") -> Tensor:  # (H, W, C) frame-sized -> (M, C)
        """Sample `image` at each texel's place. Differentiable in `image`."""
        height, width = image.shape[:2]
        if not len(self.x):
            return image.new_zeros(0, image.shape[2])
        grid = torch.stack([(self.x + 0.5) * (2 / width) - 1, (self.y + 0.5) * (2 / height) - 1], -1)[None, None]
        planes = image.permute(2, 0, 1)[None]
        sampled = F.grid_sample(planes, grid, mode=mode, padding_mode="border", align_corners=False)
        return sampled[0, :, 0].T

    def put(self, values: Tensor, size: tuple[int, int]) -> Tensor:  # (M, C) -> (H, W, C)
        """Put `values` at their texels, 0 at all others."""
        shape = (size[0] * size[1], values.shape[1])
        return zeros(shape, values).index_copy_(0, self.texel, values).view(*size, -1)


def zeros(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Make zeros of the kind and on the device of `like`."""
    # NumPy takes zeroed memory from the system, untouched: of a large atlas only what is covered is ever written.
    if like.device.type == "cpu" and like.dtype == torch.float32:
        return torch.from_numpy(np.zeros(shape, np.float32))
    return like.new_zeros(shape)


def inverse_map(
    uv: Tensor,  # (H, W, 2)
    opacity: Tensor,  # (H, W): quads whose pixels are all 0 are not drawn
    size: tuple[int, int],  # (H, W) of the atlas
) -> Inverse:
    """Rasterise a frame's mesh of pixels: the place in the frame of every texel whose centre lies under visible pixels."""
    nothing = torch.zeros(0, device=uv.device)
    if min(opacity.shape) < 2:
        return Inverse(nothing.long(), nothing, nothing)
    quads = _Quads.of(uv.float(), opacity, size)
    drawn: list[list[Tensor]] = []
    for smaller, largest in zip((0, *_GROUPS), _GROUPS, strict=False):
        group = torch.nonzero((quads.extent >= smaller) & (quads.extent < largest))[:, 0]
        # Quads of one size are the rule: then nothing has to be picked.
        part = quads if len(group) == len(quads.extent) else quads.map(partial(torch.index_select, dim=0, index=group))
        for start in range(0, len(group), _TOGETHER):
            few = part.map(itemgetter(slice(start, start + _TOGETHER)))
            drawn += _drawn(few, largest, size)
    if not any(len(texel) for texel, *_ in drawn):
        return Inverse(nothing.long(), nothing, nothing)
    texel, x, y, opaque = (torch.cat(parts) for parts in zip(*drawn, strict=True))
    return _frontmost(texel, x, y, opaque, size)


def _frontmost(texel: Tensor, x: Tensor, y: Tensor, opaque: Tensor, size: tuple[int, int]) -> Inverse:
    """Keep each texel once: as the most opaque quad shows it, and among equals the one drawn last."""
    top = torch.div(texel.min(), size[1], rounding_mode="floor")
    bottom = torch.div(texel.max(), size[1], rounding_mode="floor") + 1
    start = int(top) * size[1]
    key = opaque.to(torch.int64).mul_(1 << 40).add_(torch.arange(len(texel), device=texel.device))
    best = torch.full((int(bottom) * size[1] - start,), -1, dtype=torch.int64, device=texel.device)
    best.scatter_reduce_(0, texel - start, key, "amax")
    covered = torch.nonzero(best >= 0)[:, 0]
    number = best.index_select(0, covered).bitwise_and_((1 << 40) - 1)
    return Inverse(covered.add_(start), x.index_select(0, number), y.index_select(0, number))


@dataclass
class _Quads:
    """Quads between four neighbouring pixels: corners in texels (centre of texel i at i), upper left, right, lower, both."""

    x: list[Tensor]
    y: list[Tensor]
    low_x: Tensor
    """First texel that may lie under the quad."""
    low_y: Tensor
    extent: Tensor
    """Texels per side that may, less one; -1 for quads that are not drawn."""
    column: Tensor
    row: Tensor
    opaque: Tensor
    """Opacity in 255ths, uint8."""

    @classmethod
    def of(cls, uv: Tensor, opacity: Tensor, size: tuple[int, int]) -> _Quads:
        corners = [(slice(0, -1), slice(0, -1)), (slice(0, -1), slice(1, None)), (slice(1, None), slice(0, -1))]
        corners.append((slice(1, None), slice(1, None)))
        x, y = ([(uv[..., i] * (size[1 - i] / 2) + (size[1 - i] / 2 - 0.5))[c] for c in corners] for i in (0, 1))
        highest = torch.stack([opacity[c] for c in corners])
        (left, right), (above, below) = _ends(x), _ends(y)
        step = torch.maximum(right - left, below - above)
        sparse = step[highest.amax(0) > 0]
        usual = sparse[:: max(1, len(sparse) // 10_000)].median() if len(sparse) else step.new_zeros(())
        drawn = (highest.amax(0) > 0) & (step <= _JUMP * usual.clamp(min=0.25))
        first = [(low - 1e-3).ceil_().clamp_(min=0) for low in (left, above)]
        last = [(high + 1e-3).floor_().clamp_(max=side - 1) for high, side in ((right, size[1]), (below, size[0]))]
        spans = [high - low for low, high in zip(first, last, strict=True)]
        extent = torch.where(drawn & (torch.minimum(*spans) >= 0), torch.maximum(*spans), -1)
        rows, columns = (torch.arange(side, device=uv.device, dtype=torch.float32) for side in step.shape)
        return cls(
            [plane.reshape(-1) for plane in x],
            [plane.reshape(-1) for plane in y],
            first[0].reshape(-1),
            first[1].reshape(-1),
            extent.reshape(-1),
            columns.expand(step.shape).reshape(-1),
            rows[:, None].expand(step.shape).reshape(-1),
            (highest.mean(0) * 255).round_().to(torch.uint8).reshape(-1),
        )

    def map(self, change: Callable[[Tensor], Tensor]) -> _Quads:
        x, y = ([change(plane) for plane in planes] for planes in (self.x, self.y))
        others = (self.low_x, self.low_y, self.extent, self.column, self.row, self.opaque)
        return _Quads(x, y, *(change(plane) for plane in others))


def _ends(planes: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Least and greatest of four."""
    a, b, c, d = planes
    low = torch.minimum(torch.minimum(a, b), torch.minimum(c, d))
    return low, torch.maximum(torch.maximum(a, b), torch.maximum(c, d))


def _drawn(quads: _Quads, most: int, size: tuple[int, int]) -> list[list[Tensor]]:
    """Draw quads of at most `most` texels per side: texel, x, y and opacity (in 255ths) of all texels under them."""
    start = quads.low_y.long() * size[1] + quads.low_x.long()  # as whole numbers: float32 ends at 2^24
    beyond = bool((quads.low_x.amax() + most > size[1]) | (quads.low_y.amax() + most > size[0]))
    upper, lower = _Triangle.of(quads, 0, 1, 2), _Triangle.of(quads, 3, 2, 1)
    right, below = quads.column + 1, quads.row + 1
    texels = []
    for j in range(most):
        for i in range(most):
            (a, b, in_upper), (c, d, in_lower) = upper.at(i, j), lower.at(i, j)
            hit = in_upper | in_lower
            if beyond:
                hit &= (quads.low_x + i < size[1]) & (quads.low_y + j < size[0])
            index = torch.nonzero(hit)[:, 0]
            # The lower triangle counts from its own corner, backwards.
            x = torch.where(in_upper, a.add_(quads.column), right - c)
            y = torch.where(in_upper, b.add_(quads.row), below - d)
            texel, x, y, opaque = (plane.index_select(0, index) for plane in (start, x, y, quads.opaque))
            texels.append([texel.add_(j * size[1] + i), x, y, opaque])
    return texels


@dataclass
class _Triangle:
    """Barycentric coordinates a, b of a texel: they are linear in its place."""

    a: tuple[Tensor, Tensor, Tensor]  # at the quad's first texel, then by how much each texel to the right and below adds
    b: tuple[Tensor, Tensor, Tensor]

    @classmethod
    def of(cls, quads: _Quads, corner: int, across: int, down: int) -> _Triangle:
        ex, ey = quads.x[across] - quads.x[corner], quads.y[across] - quads.y[corner]
        fx, fy = quads.x[down] - quads.x[corner], quads.y[down] - quads.y[corner]
        scale = 1 / (ex * fy - ey * fx)  # infinite where the triangle has no area: then no test below holds
        dx, dy = quads.low_x - quads.x[corner], quads.low_y - quads.y[corner]
        ax, ay, bx, by = fy * scale, -fx * scale, -ey * scale, ex * scale
        return cls((dx * ax + dy * ay, ax, ay), (dx * bx + dy * by, bx, by))

    def at(self, i: int, j: int) -> tuple[Tensor, Tensor, Tensor]:
        """Compute a, b, and whether the texel i to the right and j below is inside."""
        a, b = (torch.add(start, right, alpha=i).add_(down, alpha=j) for start, right, down in (self.a, self.b))
        return a, b, torch.minimum(torch.minimum(a, b), 1 - a - b) >= -_EDGE
