"""Uniform parts of images: whether all texels of a box hold the same, asked of a summed-area table (Crow 1984)."""

from __future__ import annotations

import math

import cv2
import numpy as np

_CELL = 8  # texels along the cells that are counted: a box is asked about with those around it


class UniformParts:
    """Tells where an image holds one value in all of a box: work that depends on what differs can be left out there."""

    def __init__(self, image: np.ndarray) -> None:  # (H, W, C)
        self._image = image
        differs: np.ndarray = np.zeros(image.shape[:2], bool)
        differs[:, :-1] |= (image[:, 1:] != image[:, :-1]).any(-1)
        differs[:-1] |= (image[1:] != image[:-1]).any(-1)
        rows, columns = math.ceil(image.shape[0] / _CELL), math.ceil(image.shape[1] / _CELL)
        cells = np.zeros((rows * _CELL, columns * _CELL), bool)
        cells[: differs.shape[0], : differs.shape[1]] = differs
        self._sums = cv2.integral(cells.reshape(rows, _CELL, columns, _CELL).any((1, 3)).astype(np.uint8))

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
