"""Bilateral grids of affine colour transforms: how a colour change differs from place to place in the atlas.

After Chen, Adams, Wadhwa and Hasinoff, Bilateral Guided Upsampling (2016): each cell of a coarse grid over place and brightness
holds an affine map of colours, fitted in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy.sparse as sparse
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from atlas.recolour.lattice import corners, solved, squared_differences

LUMA = (0.299, 0.587, 0.114)
SHAPE = (6, 12, 12)
"""Cells along brightness, v and u."""
_SMOOTH = 0.02  # weight of differences between neighbouring cells against the mean pixel's
_HOLD = 2e-3  # weight of no correction at all: the layer's one transform


@dataclass(frozen=True)
class BilateralGrid:
    """Corrections of a layer's colour transform: affine maps over place in the atlas and brightness."""

    values: np.ndarray
    """(D, H, W, 4, 3) float32: what is added to a colour, from (red, green, blue, 1); over brightness, v, u."""
    corner: tuple[float, float]
    """u and v of the grid's first nodes."""
    side: tuple[float, float]
    """Extent of the grid in u and v."""

    def at(self, colours: list[Tensor], uv: Tensor) -> list[Tensor]:  # planes (h, w), (h, w, 2) -> planes (h, w)
        """Look up what is added to colours at places of the atlas."""
        luma = sum(share * plane for share, plane in zip(LUMA, colours, strict=True))
        assert isinstance(luma, Tensor)
        u, v = ((uv[..., i] - self.corner[i]) * (2 / self.side[i]) - 1 for i in (0, 1))
        where = torch.stack([u, v, luma.clamp(0, 1) * 2 - 1], -1)[None, None]
        depth, height, width = self.values.shape[:3]
        values = torch.from_numpy(self.values.reshape(depth, height, width, 12).transpose(3, 0, 1, 2).copy())[None]
        found = F.grid_sample(values.to(uv.device), where, padding_mode="border", align_corners=True)[0, :, 0]
        known = [*colours, torch.ones_like(colours[0])]
        return [sum(known[i] * found[3 * i + channel] for i in range(4)) for channel in range(3)]  # type: ignore[misc]


@dataclass(frozen=True)
class GridSums:
    """Normal equations of a grid. Those of parts of the pixels add up, and a part is left out by subtracting its own."""

    normal: sparse.csr_array  # (cells * 4, cells * 4)
    right: np.ndarray  # (cells * 4, 3)
    weight: float

    def __add__(self, other: GridSums) -> GridSums:
        return GridSums(self.normal + other.normal, self.right + other.right, self.weight + other.weight)

    def __sub__(self, other: GridSums) -> GridSums:
        return GridSums(self.normal - other.normal, self.right - other.right, self.weight - other.weight)

    def solved(self) -> np.ndarray:  # (cells * 4, 3)
        """Solve for the grid's values."""
        scale = np.prod(SHAPE) / max(self.weight, 1e-12)
        return solved(sparse.csr_array(self.normal * scale + _smoothness()), self.right * scale, blocks=4)


@dataclass(frozen=True)
class GridPixels:
    """Pixels looked up in a grid that spans them all: once for fits to all of them and to parts.

    A fit is least squares, smooth between cells, drawn towards no correction.
    """

    looked_up: sparse.csr_array
    """(M, cells * 4)"""
    corner: tuple[float, float]
    side: tuple[float, float]

    @classmethod
    def of(cls, colours: np.ndarray, uv: np.ndarray) -> GridPixels:  # (M, 3), (M, 2)
        """Look pixels up, each at its brightness and place."""
        low, high = uv.min(0), uv.max(0)
        side = np.maximum(high - low, 1e-3)
        looked_up = _lookup_matrix(np.asarray(colours, np.float64), (uv - low) / side)
        return cls(looked_up, (float(low[0]), float(low[1])), (float(side[0]), float(side[1])))

    def __getitem__(self, chosen: np.ndarray) -> GridPixels:  # (M,) bool
        return GridPixels(self.looked_up[np.flatnonzero(chosen)], self.corner, self.side)

    def sums(self, missing: np.ndarray, weight: np.ndarray) -> GridSums:  # (M, 3), (M,)
        """Sum up the normal equations of what is missing at the pixels."""
        weighted = self.looked_up.multiply(weight[:, None]).T
        return GridSums(sparse.csr_array(weighted @ self.looked_up), weighted @ missing, float(weight.sum()))

    def corrections(self, values: np.ndarray) -> np.ndarray:  # (cells * 4, 3) -> (M, 3)
        """Look up what is added to the colours of the pixels."""
        return self.looked_up @ values

    def grid(self, values: np.ndarray) -> BilateralGrid:  # (cells * 4, 3)
        """Make a grid of its values."""
        return BilateralGrid(values.reshape(*SHAPE, 4, 3).astype(np.float32), self.corner, self.side)


def _lookup_matrix(colours: np.ndarray, place: np.ndarray) -> sparse.csr_array:  # (M, 3), (M, 2) in [0, 1] -> (M, cells * 4)
    """The look-up of an affine map at brightness and place, and its product with the colour, as a matrix."""
    count = len(colours)
    inside = np.column_stack([colours @ np.array(LUMA), place[:, 1], place[:, 0]]).clip(0, 1) * (np.array(SHAPE) - 1)
    known = np.column_stack([colours, np.ones(count)])
    columns, values = [], []
    for cell, share in corners(inside, SHAPE):
        columns.append(cell[:, None] * 4 + np.arange(4))
        values.append(share[:, None] * known)
    rows = np.tile(np.repeat(np.arange(count), 4), 8)
    flat = np.concatenate([part.ravel() for part in values]), (rows, np.concatenate([part.ravel() for part in columns]))
    return sparse.csr_array(flat, (count, int(np.prod(SHAPE)) * 4))


@cache
def _smoothness() -> sparse.csr_array:
    """Squared differences between neighbouring cells, and the cells themselves, as a matrix."""
    total = _SMOOTH * squared_differences(SHAPE, (-1, 1)) + _HOLD * sparse.eye_array(int(np.prod(SHAPE)))
    return sparse.csr_array(sparse.kron(total, sparse.eye_array(4)))
