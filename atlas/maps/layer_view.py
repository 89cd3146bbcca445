"""A layer in a frame: the part where it is seen, its outline there, and the maps that both are read from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from atlas.geometry.boxes import Box, bounding_box
from atlas.geometry.texture import Texture

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


@dataclass
class LayerView:
    """A layer in the part of a frame where it is visible, plane by plane."""

    box: Box
    uv: np.ndarray
    """(h, w, 2)."""
    seen: np.ndarray
    """(h, w) opacity."""
    opacity: Tensor
    """(h, w), the same on the device."""
    light: list[Tensor]
    """Red, green, blue, each (h, w); empty for 1."""


def layer_view(index: int, layer: str, maps: FrameMaps, device: torch.device) -> LayerView | None:
    """View a layer in frame `index`, on a device; None where it is not visible."""
    opacity = maps.opacity(layer, index)
    box = bounding_box(opacity)
    if box is None:
        return None
    seen = opacity[box]
    light = cv2.split(maps.light(layer, index)[box]) if maps.has_light(layer) else ()
    return LayerView(
        box,
        maps.uv(layer, index)[box],
        seen,
        torch.from_numpy(seen).to(device),
        [torch.from_numpy(plane).to(device) for plane in light],
    )


def whole_share(opacity: Tensor) -> Tensor:
    """Measure how far a pixel shows the layer alone, rather than a mix with what lies behind."""
    return ((opacity - MIXED) / (PURE - MIXED)).clamp(0, 1)


@dataclass
class Outline:
    """Where a layer is seen, but not alone."""

    place: tuple[Tensor, Tensor]
    """Rows and columns in the view, (M,) each."""
    share: Tensor
    """(M,) how far the frame's colour there is not to be taken for the layer's."""
    own: list[Tensor]
    """The layer's colour there, under its light, in the frame's units, (M,) for each channel."""

    @classmethod
    def of(cls, view: LayerView, own: Texture, top: float) -> Outline | None:
        """Find the outline of a layer in its view; None where it has none. top: white in the frame's units."""
        mixed = cv2.inRange(view.seen, np.array(1e-6), np.array(PURE))
        edge = np.divmod(np.flatnonzero(mixed), mixed.shape[1])
        if not len(edge[0]):
            return None
        rows, columns = (torch.from_numpy(index).to(view.opacity.device) for index in edge)
        place = rows, columns
        colours = own.at_places(view.uv[edge])
        lit = [colour * (view.light[c][place] * top if view.light else top) for c, colour in enumerate(colours)]
        return cls(place, 1 - whole_share(view.opacity[place]), lit)
