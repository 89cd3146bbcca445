"""Training windows of the aggregation network: the atlas as all keyframes but one make it, and that one's pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from aggregate.averages import Robust, averaged
from aggregate.stack import Images
from atlas.geometry.boxes import Box, sides_of
from atlas.geometry.warp import sample

_MARGIN = 3  # texels at a window's edge whose neighbours are missing
_HELD = 0.15  # share of the pixels that are not trained on
_CHECKED = 12  # windows of them
_HELD_TEXELS = 4_000_000  # of all keyframes together, 28 bytes each: up to here they are held in memory


@dataclass
class View:
    """The pixels of one keyframe that count: where they are in the atlas, and what is to be seen there."""

    uv: Tensor
    """(P, 2)"""
    edited: Tensor
    """(P, 3) light removed"""
    original: Tensor
    """(P, 3) light removed"""
    weight: Tensor
    """(P,) opacity times where the edit applies"""
    uv_original: Tensor | None = None
    """(P, 2) where the unedited pixels are, if elsewhere."""


@dataclass
class Pixels:
    """All views' pixels together, one view after the other; texel coordinates count from the box's corner, centres at +0.5."""

    texel: Tensor  # (P, 2)
    texel_original: Tensor  # (P, 2)
    edited: Tensor
    original: Tensor
    weight: Tensor
    keyframe: Tensor  # (P,) number of the view
    held: Tensor  # (P,) bool: not trained on

    @classmethod
    def of(cls, views: Sequence[View], size: torch.Size, box: Box, most: int, generator: torch.Generator) -> Pixels:
        """Gather all views in a box of the atlas; a random share where there are more pixels than `most`."""
        share = min(1.0, most / max(1, sum(len(view.uv) for view in views)))
        parts = []
        for number, view in enumerate(views):
            chosen = torch.randperm(len(view.uv), generator=generator)[: round(share * len(view.uv))].to(view.uv.device)
            uvs = [view.uv, view.uv if view.uv_original is None else view.uv_original]
            scale, corner = view.uv.new_tensor([size[1], size[0]]) / 2, view.uv.new_tensor([box[1].start, box[0].start])
            texels = [(uv[chosen] + 1) * scale - corner for uv in uvs]
            held = (torch.rand(len(chosen), generator=generator) < _HELD).to(view.uv.device)
            colours = (view.edited[chosen], view.original[chosen], view.weight[chosen])
            parts.append((*texels, *colours, torch.full_like(chosen, number), held))
        return cls(*(torch.cat(planes) for planes in zip(*parts, strict=True)))

    def __getitem__(self, index: Tensor | slice) -> Pixels:
        return Pixels(*(getattr(self, item.name)[index] for item in fields(self)))

    def of_view(self, number: int) -> Pixels:
        """Take the pixels of one view."""
        ends = torch.searchsorted(self.keyframe, self.keyframe.new_tensor([number, number + 1])).tolist()
        return self[slice(*ends)]


@dataclass
class Source:
    """The keyframes' partial atlases inside a box: those that are learned from, and what all others make together."""

    colours: Images  # (K, H, W, 6) of the whole atlas, or (K, h, w, 6) of the box
    weights: Images  # (K, H, W) or (K, h, w)
    box: Box
    robust: Robust | None = None
    others: tuple[Tensor, Tensor] | None = None  # (h, w, 6) and (h, w) in the box: their mean, and the sum of their weights
    cut: bool = False  # whether these are of the box

    @classmethod
    def of(cls, colours: Images, weights: Images, learned: list[int], box: Box) -> Source:
        """Take the keyframes of the numbers `learned` one by one, those of few texels in memory, and the mean of all others."""
        mine, shares = colours[learned], weights[learned]
        cut = len(learned) * math.prod(sides_of(box)) <= _HELD_TEXELS
        if cut:
            mine, shares = mine[:, box[0], box[1]], shares[:, box[0], box[1]]
        return cls(mine, shares, box, cut=cut).weighed(colours, weights, learned, None)

    def weighed(self, colours: Images, weights: Images, learned: list[int], robust: Robust | None) -> Source:
        """Weigh keyframes by their agreement as well, or not; the arguments as for `of`."""
        others = None
        if rest := sorted(set(range(len(weights))) - set(learned)):
            mean, total = averaged(colours[rest], weights[rest], robust)
            others = mean[self.box], total[self.box]
        return replace(self, robust=robust, others=others)

    def predicted(self, pixels: Pixels) -> Tensor:  # (P,) bool
        """Tell whether the other keyframes know the pixel's texel; a single keyframe stands for itself."""
        if len(self.weights) == 1:
            return torch.ones_like(pixels.held)
        total = self._weight(0).clone() if self.others is None else self.others[1] + self._weight(0)
        for number in range(1, len(self.weights)):
            total += self._weight(number)
        result = torch.zeros_like(pixels.held)
        size = pixels.texel.new_tensor([total.shape[1], total.shape[0]])
        for number in range(len(self.weights)):
            mine = torch.nonzero(pixels.keyframe == number)[:, 0]
            uv = pixels.texel[mine] * (2 / size) - 1
            result[mine] = sample((total - self._weight(number))[..., None], uv)[:, 0] > 0.5
        return result

    def _weight(self, number: int) -> Tensor:  # (h, w)
        weight = self.weights[number]
        return weight if self.cut else weight[self.box]

    def window(self, keyframe: int, rows: slice, columns: slice) -> Tensor:  # (2, 3, h, w)
        """Average the other keyframes in a window: edited and unedited. Where they saw nothing, the keyframe's own."""
        part = (_moved(rows, self.box[0].start), _moved(columns, self.box[1].start))
        stored = (rows, columns) if self.cut else part
        colours, weights = self.colours[:, stored[0], stored[1]], self.weights[:, stored[0], stored[1]]
        weights = weights.clone() if self.robust is None else self.robust.weights(colours, weights, part)
        if self.others is not None:
            mean, total = (image[None, rows, columns] for image in self.others)
            colours, weights = torch.cat([colours, mean]), torch.cat([weights, total])
        if len(weights) > 1:
            weights[keyframe] *= 1e-6
        merged = torch.einsum("khwc,khw->chw", colours, weights) / weights.sum(0).clamp(min=1e-12)
        return merged.view(2, 3, *merged.shape[1:]).contiguous(memory_format=torch.channels_last)


def _moved(span: slice, by: int) -> slice:
    return slice(span.start + by, span.stop + by)


@dataclass
class Window:
    """A part of the atlas, and pixels of one keyframe in it."""

    keyframe: int
    rows: slice
    columns: slice
    pixels: Pixels

    def images(self, source: Source) -> Tensor:  # (2, 3, h, w)
        """What the network sees of this part of the atlas: the edited and the original merge of the other keyframes."""
        return source.window(self.keyframe, self.rows, self.columns)


def window_at_random(source: Source, pixels: Pixels, size: int, generator: torch.Generator) -> Window:
    """Draw a window around a random keyframe pixel, with that keyframe's pixels in it."""
    height, width = sides_of(source.box)
    chosen = int(torch.randint(len(pixels.texel), (), generator=generator))
    centre, keyframe = pixels.texel[chosen].tolist(), int(pixels.keyframe[chosen])
    left = int(min(max(centre[0] - size / 2, 0), max(width - size, 0)))
    top = int(min(max(centre[1] - size / 2, 0), max(height - size, 0)))
    right, bottom = min(left + size, width), min(top + size, height)
    # At the box's own border there is nothing beyond that could be missing.
    low_x, low_y = (edge + _MARGIN if edge > 0 else edge for edge in (left, top))
    high_x, high_y = right - _MARGIN if right < width else right, bottom - _MARGIN if bottom < height else bottom
    part = pixels.of_view(keyframe)
    x, y = part.texel.unbind(-1)
    part = part[torch.nonzero((x >= low_x) & (x <= high_x) & (y >= low_y) & (y <= high_y))[:, 0]]
    corner = part.texel.new_tensor([left, top])
    part = replace(part, texel=part.texel - corner, texel_original=part.texel_original - corner)
    return Window(keyframe, slice(top, bottom), slice(left, right), part)


def held_out(source: Source, pixels: Pixels, size: int, generator: torch.Generator) -> list[Window]:
    """Draw held-out windows, which say how good a network is by pixels that it is not trained on."""
    held = pixels[pixels.held]
    if not len(held.texel):
        return []
    windows = [window_at_random(source, held, size, generator) for _ in range(_CHECKED)]
    return [window for window in windows if len(window.pixels.texel)]
