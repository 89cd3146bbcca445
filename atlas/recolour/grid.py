"""Bilateral grids of affine colour transforms: how a colour change differs from place to place in the atlas.

After Chen, Adams, Wadhwa and Hasinoff, Bilateral Guided Upsampling (2016): each cell of a coarse grid over place and brightness
holds an affine map of colours, fitted in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

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


def fit_grid(
    colours: np.ndarray,  # (M, 3)
    missing: np.ndarray,  # (M, 3): what the layer's one transform leaves unexplained
    uv: np.ndarray,  # (M, 2)
    weight: np.ndarray,  # (M,)
) -> BilateralGrid:
    """Fit a bilateral grid of affine corrections: least squares, smooth between cells, drawn towards no correction."""
    low, high = uv.min(0), uv.max(0)
    side = np.maximum(high - low, 1e-3)
    looked_up = _lookup_matrix(np.asarray(colours, np.float64), (uv - low) / side)
    scale = np.prod(SHAPE) / max(float(weight.sum()), 1e-12)
    normal = (looked_up.T @ looked_up.multiply(weight[:, None])) * scale + _smoothness()
    right = looked_up.T @ (weight[:, None] * missing) * scale
    values = solved(sparse.csr_array(normal), right).reshape(*SHAPE, 4, 3).astype(np.float32)
    return BilateralGrid(values, (float(low[0]), float(low[1])), (float(side[0]), float(side[1])))


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


def _smoothness() -> sparse.csr_array:
    """Squared differences between neighbouring cells, and the cells themselves, as a matrix."""
    total = _SMOOTH * squared_differences(SHAPE, (-1, 1)) + _HOLD * sparse.eye_array(int(np.prod(SHAPE)))
    return sparse.csr_array(sparse.kron(total, sparse.eye_array(4)))
