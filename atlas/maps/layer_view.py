"""A layer in a frame: the part where it is seen, its outline there, and the maps that both are read from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from atlas.geometry.boxes import EMPTY, Box, blocks, bounding_box, box_within
from atlas.geometry.texture import Texture, level_of_detail

MIXED, PURE = 0.8, 0.98
"""Opacity up to which a pixel's colour is not taken for the layer's, and from which it is."""


class FrameMaps(Protocol):
    """Maps at the size that is rendered: those of a fit, or `ScaledMaps` of them."""

    height: int
    width: int

    def uv(self, layer: str, frame: int) -> np.ndarray:
        """(H, W, 2) float32 in [-1, 1]."""
        ...

    def opacity(self, layer: str, frame: int) -> np.ndarray:
        """(H, W) float32 in [0, 1], of what one sees of the layer."""
        ...

    def light(self, layer: str, frame: int) -> np.ndarray:
        """(H, W, 3) float32 gain."""
        ...

    def has_light(self, layer: str) -> bool:
        """Whether the fit models the layer's light."""
        ...


Cut = Callable[[np.ndarray], np.ndarray]
"""From an image of a view to the same of a part of it."""
_ROW = 1024  # pixels that are viewed alone lie in rows of so many


@dataclass
class LayerView:
    """A layer in the part of a frame where it is visible; what is worked out from its maps is kept."""

    box: Box
    uv: np.ndarray
    """(h, w, 2)."""
    seen: np.ndarray
    """(h, w) opacity."""
    device: torch.device
    lit: Callable[[], np.ndarray] | None = None
    """Reads the light, (h, w, 3), when it is asked for; None for 1."""
    of: tuple[LayerView, Cut] | None = None
    """What it is a part of, and how it is cut out."""
    _levels: dict[int, np.ndarray | None] = field(default_factory=dict)
    _outlines: dict[Texture, Outline | None] = field(default_factory=dict)

    @cached_property
    def gain(self) -> np.ndarray | None:
        """(h, w, 3) light; None for 1."""
        return self.lit() if self.lit else None

    @cached_property
    def opacity(self) -> Tensor:
        """(h, w), the same as `seen` on the device."""
        return torch.from_numpy(self.seen).to(self.device)

    @cached_property
    def weight(self) -> Tensor:
        """(h, w, 4) the same for each channel of a colour."""
        if self.device.type == "cpu":  # repeated, it is multiplied with several times as fast
            return torch.from_numpy(cv2.cvtColor(self.seen, cv2.COLOR_GRAY2RGBA))
        return self.opacity[..., None].expand(*self.seen.shape, 4)

    @cached_property
    def light(self) -> Tensor | None:
        """(h, w, 4) of red, green and blue; None for 1."""
        return None if self.gain is None else colours_of(self.gain, self.device)

    def level(self, size: int) -> np.ndarray | None:  # (h, w)
        """Choose the level of detail of a texture of `size` texels, 0 where the layer is not seen; None for 0 everywhere."""
        if self.of is not None:
            whole, cut = self.of
            level = whole.level(size)
            if level is None or not (here := cut(level)).any():
                return None
            return here
        if size not in self._levels:
            level = level_of_detail(self.uv, size)
            self._levels[size] = None if level is None else level * (self.seen > 0)
        return self._levels[size]

    def outline(self, own: Texture) -> Outline | None:
        """Find the layer's outline, its own colours looked up in a texture; None where it has none."""
        if own not in self._outlines:
            self._outlines[own] = Outline.of(self, own)
        return self._outlines[own]

    def parts(self, side: int) -> Iterator[LayerView]:
        """View the blocks of `side` pixels, along each side, that the layer is seen in. On a GPU: the whole, at once."""
        if self.device.type != "cpu":
            yield self
            return
        for box in blocks(self.box, side):
            place = box_within(box, self.box)
            if self.seen[place].any():
                yield self._part(box, itemgetter(place))

    def alone(self, places: np.ndarray) -> LayerView:  # (M,) numbers of pixels, row by row
        """View some pixels alone, side by side; what is left of the last row is the last pixel again. Its box says nothing."""
        width = min(len(places), _ROW)
        padded = np.full((-(-len(places) // width), width), places[-1])
        padded.reshape(-1)[: len(places)] = places
        return self._part(EMPTY, lambda image: image.reshape(-1, *image.shape[2:]).take(padded, 0))

    def _part(self, box: Box, cut: Cut) -> LayerView:
        lit = None if self.lit is None else (lambda: cut(self.gain))  # type: ignore[arg-type]
        return LayerView(box, cut(self.uv), cut(self.seen), self.device, lit, (self, cut))


def layer_view(index: int, layer: str, maps: FrameMaps, device: torch.device) -> LayerView | None:
    """View a layer in frame `index`, on a device; None where it is not visible."""
    opacity = maps.opacity(layer, index)
    box = bounding_box(opacity)
    if box is None:
        return None
    lit = (lambda: maps.light(layer, index)[box]) if maps.has_light(layer) else None
    return LayerView(box, maps.uv(layer, index)[box], opacity[box], device, lit)


class FramePart:
    """What a view shows of a frame: as it is stored, and as floats of the same range where these are asked for."""

    def __init__(self, image: np.ndarray, device: torch.device) -> None:  # (h, w, 3) uint8 or uint16
        self.image, self.device = np.ascontiguousarray(image), device
        self.top = float(np.iinfo(image.dtype).max)

    @cached_property
    def colours(self) -> Tensor:
        """(h, w, 4) float32 of red, green, blue and one to spare."""
        return colours_of(self.image, self.device)

    def at(self, places: np.ndarray) -> Tensor:  # (M,) numbers of pixels, row by row -> (M, 4) float32
        """Read a few pixels."""
        return colours_of(self.image.reshape(-1, 3).take(places, 0)[None], self.device)[0]


def colours_of(image: np.ndarray, device: torch.device) -> Tensor:  # (h, w, 3) of any kind -> (h, w, 4) float32
    """Convert colours to floats of the same range on a device, with a fourth channel to spare: four go faster than three."""
    return torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA).astype(np.float32, copy=False)).to(device)


def whole_share(opacity: Tensor) -> Tensor:
    """Measure how far a pixel shows the layer alone, rather than a mix with what lies behind."""
    return ((opacity - MIXED) / (PURE - MIXED)).clamp(0, 1)


@dataclass
class Outline:
    """Where a layer is seen, but not alone."""

    number: np.ndarray
    """(M,) the pixels' numbers in the view, row by row."""
    share: Tensor
    """(M, 1) how far the frame's colour there is not to be taken for the layer's."""
    own: Tensor
    """The layer's colour there, under its light, (M, 4) of red, green, blue and one to spare."""

    @classmethod
    def of(cls, view: LayerView, own: Texture) -> Outline | None:
        """Find the outline of a layer in its view; None where it has none."""
        number = np.flatnonzero((view.seen >= 1e-6) & (view.seen <= PURE))
        if not len(number):
            return None
        colours = own.at_places(view.uv.reshape(-1, 2).take(number, 0))
        if view.gain is not None:
            colours *= colours_of(view.gain.reshape(-1, 3).take(number, 0)[None], view.device)[0]
        opacity = torch.from_numpy(view.seen.reshape(-1).take(number)).to(view.device)
        return cls(number, 1 - whole_share(opacity)[:, None], colours)


def at_places(colours: Tensor, number: np.ndarray) -> Tensor:  # (h, w, C), (M,) -> (M, C)
    """Pick a few pixels by their numbers, row by row."""
    return colours.reshape(-1, colours.shape[-1]).index_select(0, torch.from_numpy(number).to(colours.device))


def put_places(colours: Tensor, number: np.ndarray, values: Tensor) -> None:  # (h, w, C), (M,), (M, C)
    """Replace a few pixels, in place."""
    colours.view(-1, colours.shape[-1]).index_copy_(0, torch.from_numpy(number).to(colours.device), values)
