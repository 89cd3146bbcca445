"""Uniform parts of images: whether all texels of a box hold the same, asked of a summed-area table (Crow 1984)."""

from __future__ import annotations

import math

import cv2
import numpy as np

from atlas.geometry.boxes import Box

_CELL = 8  # texels along the cells that are counted: a box is asked about with those around it


class UniformParts:
    """Tells where an image holds one value in all of a box: work that depends on what differs can be left out there."""

    def __init__(self, image: np.ndarray) -> None:  # (H, W, C)
        self._image = image
        height, width = image.shape[:2]
        self._mixed = np.zeros((math.ceil(height / _CELL), math.ceil(width / _CELL)), np.uint8)
        self.renew((slice(0, height), slice(0, width)))

    def renew(self, box: Box) -> None:
        """Look again at a box of the image whose texels were replaced, in place."""
        # A texel counts as mixed by the next one in its row and column: those before the box may have become so.
        rows, columns = (slice(max(side.start - 1, 0) // _CELL, math.ceil(side.stop / _CELL)) for side in box)
        part = self._image[rows.start * _CELL : rows.stop * _CELL + 1, columns.start * _CELL : columns.stop * _CELL + 1]
        down, across = (rows.stop - rows.start) * _CELL, (columns.stop - columns.start) * _CELL
        differs: np.ndarray = np.zeros((down, across, part.shape[2]), bool)
        below, right = part[1:, :across] != part[:-1, :across], part[:down, 1:] != part[:down, :-1]
        differs[: below.shape[0], : below.shape[1]] = below
        differs[: right.shape[0], : right.shape[1]] |= right
        in_rows = differs.reshape(-1, _CELL, across * part.shape[2]).any(1)  # whole rows at once: by texels it takes far longer
        self._mixed[rows, columns] = in_rows.reshape(-1, across // _CELL, _CELL * part.shape[2]).any(2)
        self._sums = cv2.integral(self._mixed)

    def value(self, rows: tuple[float, float], columns: tuple[float, float]) -> np.ndarray | None:  # (C,)
        """Find the one value that all texels from the first to the last hold; None where they differ, or nearly do.

        rows, columns: the first and the last, whole or not. What lies outside of the image is as its border.
        """
        height, width = self._image.shape[:2]
        top, bottom = (min(max(row, 0), height - 1) for row in (math.floor(rows[0]), math.ceil(rows[1])))
        left, right = (min(max(column, 0), width - 1) for column in (math.floor(columns[0]), math.ceil(columns[1])))
        above, below, before, after = top // _CELL, bottom // _CELL + 1, left // _CELL, right // _CELL + 1
        sums: np.ndarray = self._sums
        if sums[below, after] - sums[above, after] - sums[below, before] + sums[above, before]:
            return None
        return np.asarray(self._image[top, left])
