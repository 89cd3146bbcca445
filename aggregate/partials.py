"""The partial atlases of a layer's keyframes in files: whole for what merges them, and reduced for what matches them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from aggregate.match import MOST_SHIFT
from aggregate.stack import FEW, ImageStack
from atlas.geometry.boxes import Box, bounding_box
from atlas.maps.partial import Partial

_WORKING = 512  # texels per side, about, at which is measured
_BEYOND = 3  # texels that a colour looked up between texels depends on


class Partials:
    """Partial atlases of six channels, edited and then unedited, written one by one; in a `with` block, deleted at its end."""

    colours: ImageStack
    """(K, H, W, 6); of many keyframes, 0 where they do not count."""
    weights: ImageStack
    """(K, H, W)"""
    edited: ImageStack
    """(K, h, w, 3) the edited channels reduced to about 512 texels a side."""
    original: ImageStack
    """(K, h, w, 3) the unedited ones."""
    known: ImageStack
    """(K, h, w) the weights, at most 1, reduced alike."""
    reduction: int
    """Texels of the atlas for one of the reduced ones."""
    coverage: Tensor
    """(H, W) what the best keyframe covers of each texel."""

    def __init__(self, folder: Path, size: tuple[int, int], expected: int, device: torch.device | str = "cpu") -> None:
        """folder: where the files lie; size: (H, W) of the atlas; expected: how many keyframes there will be."""
        self.reduction = max(1, round(max(size) / _WORKING))
        self.coverage = torch.zeros(size, device=device)
        self._all = expected <= FEW  # also what no keyframe saw, from which the usual departure near to it is averaged
        small = (size[0] // self.reduction, size[1] // self.reduction)
        shapes = {"colours": (*size, 6), "weights": size, "edited": (*small, 3), "original": (*small, 3), "known": small}
        with ExitStack() as opened:
            for name, shape in shapes.items():
                setattr(self, name, opened.enter_context(ImageStack(folder / name, shape, expected, device)))
            self._opened = opened.pop_all()

    @classmethod
    def of(cls, folder: Path, partials: Sequence[Partial]) -> Partials:
        """Write partial atlases that are all there already."""
        stored = cls(
            folder, (partials[0].colour.shape[0], partials[0].colour.shape[1]), len(partials), partials[0].colour.device
        )
        with ExitStack() as opened:
            opened.enter_context(stored)
            for partial in partials:
                stored.append(partial)
            opened.pop_all()
        return stored

    def __enter__(self) -> Partials:
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self._opened.close()

    def append(self, partial: Partial) -> None:
        """Write the next keyframe's; UserError where the disk has no room for all."""
        box = (slice(None), slice(None)) if self._all else self._counting(partial)
        self.colours.append(partial.colour, box)
        self.weights.append(partial.weight, box)
        edited, original, known = _reduced(partial, self.reduction)
        self.edited.append(edited)
        self.original.append(original)
        self.known.append(known)
        self.coverage = torch.maximum(self.coverage, partial.coverage)

    def _counting(self, partial: Partial) -> Box | None:
        """Find the box of a partial atlas that can come to count: what has weight, and as far as matching may move it."""
        return bounding_box(partial.weight > 0, math.ceil(MOST_SHIFT * self.reduction) + _BEYOND)


def _reduced(partial: Partial, factor: int) -> tuple[Tensor, Tensor, Tensor]:  # (h, w, 3), (h, w, 3), (h, w)
    """Shrink a partial atlas to the working size, weighted by what was seen."""
    colour, known = partial.colour.permute(2, 0, 1)[None], partial.weight[None, None].clamp(max=1)
    if factor > 1:
        share = F.avg_pool2d(known, factor)
        colour = F.avg_pool2d(colour * known, factor) / share.clamp(min=1e-6)
        known = share
    edited, original = colour[0].permute(1, 2, 0).split(3, dim=-1)
    return edited, original, known[0, 0]
