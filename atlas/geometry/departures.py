"""Where an image departs from one value: look-ups elsewhere give that value, and need not be made."""

from __future__ import annotations

import math

import cv2
import numpy as np

from atlas.geometry.boxes import Box

_CELL = 4  # texels along the cells that places are looked up in
_FAR = 32  # texels from which on what is near is found by cells


class Departures:
    """Tells which look-ups of an image may give something else than one value: work that depends on them can be left out."""

    def __init__(self, image: np.ndarray, value: float = 0.0) -> None:  # (H, W, C)
        self._image, self._value = image, np.float32(value)
        self._differs = np.zeros(image.shape[:2], np.uint8)
        self.renew((slice(0, image.shape[0]), slice(0, image.shape[1])))

    def renew(self, box: Box) -> None:
        """Look again at a box of the image whose texels were replaced, in place."""
        part = self._image[box]
        differs = np.zeros(part.shape[:2], bool)
        for channel in range(part.shape[2]):  # channel by channel: all of a texel at once takes far longer
            differs |= part[..., channel] != self._value
        self._differs[box] = differs
        self._any = bool(self._differs.any())
        self._cells: dict[int, np.ndarray] = {}

    def reached(
        self,
        uv: np.ndarray,  # (h, w, 2)
        level: np.ndarray | None = None,  # (h, w)
    ) -> np.ndarray | None:  # (h, w) bool
        """Find where bilinear look-ups may give something else, at full size or at these levels of detail; None: nowhere.

        Outside of the image it is as its border.
        """
        if not self._any:
            return None
        cells = self._within(1 if level is None else 2 ** (math.ceil(level.max()) + 1))
        height, width = self._image.shape[:2]
        half: np.ndarray | np.float32 = np.float32(width / (2 * _CELL))
        if height != width:
            half = np.array([width, height], np.float32) / np.float32(2 * _CELL)
        places = uv * half
        places += half - np.float32(0.5)
        departing = cv2.remap(cells, places, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        return departing.view(bool)  # it holds 0 and 1; numbers of what is true are found in a third of the time

    def _within(self, reach: int) -> np.ndarray:  # (H / _CELL, W / _CELL) uint8
        """Cells with a texel that departs, or is no further than `reach` from one that does; and a texel for rounding."""
        cells = self._cells.get(reach)
        if cells is None:
            texels = min(reach, _FAR)
            near = cv2.dilate(self._differs, np.ones((2 * texels + 3,) * 2, np.uint8))
            near = np.pad(near, [(0, -side % _CELL) for side in near.shape])
            for axis in (0, 1):
                near = np.maximum.reduce([near[start::_CELL] if axis == 0 else near[:, start::_CELL] for start in range(_CELL)])
            cells = np.ascontiguousarray(near)
            further = math.ceil((min(reach, max(self._differs.shape)) - texels) / _CELL)
            if further > 0:
                cells = cv2.dilate(cells, np.ones((2 * further + 1,) * 2, np.uint8))
            self._cells[reach] = cells
        return cells
