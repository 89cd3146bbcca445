"""Views of maps: the maps of a part of each frame, at the size at which that part is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from atlas.geometry.boxes import Box
from atlas.maps.compositing import FrameMaps


class ViewMaps(FrameMaps, Protocol):
    """Maps of a fit, or a view of them (`CroppedMaps`): what agreement through the atlas asks for."""

    layers: list[str]
    frames: int

    def atlas(self, layer: str) -> np.ndarray:
        """(N, N, 4) float32: the layer's colours, and where it was ever seen."""
        ...

    def atlas_size(self, layer: str) -> tuple[int, int]:
        """(H, W) of the layer's atlas."""
        ...


class CroppedMaps:
    """The maps of a box of each frame, resized to one size. Opacity stays exactly 0 away from the layer.

    chosen: the frames that the boxes are of, numbered anew from 0; None: all of them.
    """

    def __init__(
        self, maps: ViewMaps, boxes: Sequence[Box], height: int, width: int, chosen: Sequence[int] | None = None
    ) -> None:
        self.maps, self.boxes, self.height, self.width = maps, boxes, height, width
        self.chosen = range(maps.frames) if chosen is None else chosen
        self.layers, self.frames = maps.layers, len(self.chosen)

    def uv(self, layer: str, frame: int) -> np.ndarray:
        """(height, width, 2) float32 in [-1, 1]."""
        return self._view(self.maps.uv(layer, self.chosen[frame]), frame)

    def opacity(self, layer: str, frame: int) -> np.ndarray:
        """(height, width) float32 in [0, 1]."""
        return self._view(self.maps.opacity(layer, self.chosen[frame]), frame)

    def light(self, layer: str, frame: int) -> np.ndarray:
        """(height, width, 3) float32 gain."""
        return self._view(self.maps.light(layer, self.chosen[frame]), frame)

    def has_light(self, layer: str) -> bool:
        """Whether the fit models the layer's light."""
        return self.maps.has_light(layer)

    def atlas(self, layer: str) -> np.ndarray:
        """(N, N, 4) float32: the fit's own."""
        return self.maps.atlas(layer)

    def atlas_size(self, layer: str) -> tuple[int, int]:
        """(H, W) of the fit's own atlas."""
        return self.maps.atlas_size(layer)

    def _view(self, image: np.ndarray, frame: int) -> np.ndarray:
        part = image[self.boxes[frame]]
        if part.shape[:2] == (self.height, self.width):
            return np.ascontiguousarray(part)
        shrinks = self.height * self.width < part.shape[0] * part.shape[1]
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return cv2.resize(np.ascontiguousarray(part), (self.width, self.height), interpolation=interpolation)
