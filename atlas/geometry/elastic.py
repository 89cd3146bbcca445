"""Elastic sheet: displacements fitted robustly to uncertain ones by linear elasticity, on a coarse grid of finite elements.

    E(m) = sum over cells of w (m - f)' T (m - f) + stiffness * integral of |strain of (m - affine)|^2

f is a displacement and T its structure tensor: an edge knows what moves across it, a bare cell nothing. Strain is the symmetric
part of the gradient, so that a rotation costs nothing and a stretch or a shear does; what all of the sheet does together, an
affinity, is free. What moves over a surface instead of with it (a shadow's edge, a reflection) would have to stretch the
surface round about: it is left over while the sheet is stiff, and loses its weight w before the sheet is soft enough to
follow (graduated non-convexity: Blake and Zisserman, Visual Reconstruction, 1987; weights as Geman and McClure have them).
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from scipy.linalg import solveh_banded

from atlas.geometry.filling import shrink

SOFTENING = (30.0, 8.0, 2.0, 1.0)
"""Factors of the stiffness, solved one after the other."""
SPACING = 4
"""Cells between neighbouring nodes of the sheet."""
_CELLS = 64  # along a side of a square sheet: larger ones are solved on fewer cells
_BARE = 0.05  # of the stiffness, where the layer is not
_SPREAD = 2.0  # times the median of what is left over, squared: where a weight falls to a quarter


def fit_sheet(
    known: np.ndarray,  # (h, w, 6) float32: T (xx, xy, yy), T f (x, y) and f' T f
    present: np.ndarray,  # (h, w) float32 in [0, 1]: how much of each cell the layer fills
    *,
    stiffness: float,
    certain: float,
) -> tuple[np.ndarray, np.ndarray]:  # (h, w, 2) float32 displacements, (h, w) float32 weights in [0, 1]
    """Fit an elastic sheet to displacements, and weigh each cell by how far it agrees with the sheet.

    stiffness: against T of one cell that it is solved on, of large sheets the mean of several given ones.
    certain: a difference, in units of f, that is never too large.
    """
    height, width = known.shape[:2]
    step = int(np.ceil(np.sqrt(height * width) / _CELLS))
    size = (-(-height // step), -(-width // step))
    small = shrink(np.dstack([known, present]), size) if step > 1 else np.dstack([known, present])
    turned = size[0] > size[1]  # the banded matrix is narrow where the short side comes first
    if turned:
        small = small.transpose(1, 0, 2)[..., [2, 1, 0, 4, 3, 5, 6]]
    sheet, weight = _softened(small, stiffness, certain * certain)
    if turned:
        sheet, weight = sheet.transpose(1, 0, 2)[..., ::-1], weight.T
    both = np.dstack([sheet, weight]).astype(np.float32)
    both = cv2.resize(both, (width, height), interpolation=cv2.INTER_LINEAR) if step > 1 else both
    return both[..., :2], both[..., 2]


def _softened(planes: np.ndarray, stiffness: float, certain: float) -> tuple[np.ndarray, np.ndarray]:
    """The sheet and the weights when all of `SOFTENING` is through; planes (h, w, 7): evidence and presence."""
    height, width = planes.shape[:2]
    pad = ((0, -height % SPACING), (0, -width % SPACING), (0, 0))
    planes = np.pad(planes, pad).astype(np.float64)
    known = np.moveaxis(planes[..., :6], -1, 0).copy()  # planes first from here on
    rows, columns = (side // SPACING for side in planes.shape[:2])
    filled = planes[..., 6].reshape(rows, SPACING, columns, SPACING).mean((1, 3))
    stiff = stiffness * (_BARE + (1 - _BARE) * np.minimum(2 * filled, 1))
    trace = known[0] + known[2]
    counted = trace > 1e-6
    weight = np.ones_like(trace)
    for factor in SOFTENING:
        weighed = known[:5] * weight
        overall = _affine(weighed)
        sheet = overall + _solved(without(weighed, overall), stiff * factor)
        left = _left_over(known, sheet) / np.maximum(trace, 1e-6)
        usual = _weighted_median(left[counted], trace[counted])
        scale = max(certain, _SPREAD * usual)
        weight = (scale / (scale + left)) ** 2
    return np.moveaxis(sheet, 0, -1)[:height, :width], weight[:height, :width]


def _affine(known: np.ndarray) -> np.ndarray:  # (5, h, w) -> (2, h, w)
    """The affine displacements that fit best; nearly a shift where the evidence spans no plane."""
    height, width = known.shape[1:]
    xx, xy, yy, x, y = known.reshape(5, -1)
    row, column = np.mgrid[:height, :width].reshape(2, -1) / max(height, width) - 0.5
    basis = np.stack([np.ones_like(row), column, row])
    across, mixed, down = (basis * plane @ basis.T for plane in (xx, xy, yy))
    normal = np.block([[across, mixed], [mixed, down]])
    ridge = 1e-3 * (normal[0, 0] + normal[3, 3]) + 1e-9
    normal += ridge * np.diag([1e-6, 1, 1, 1e-6, 1, 1])
    solved = np.linalg.solve(normal, np.concatenate([basis @ x, basis @ y]))
    return (solved.reshape(2, 3) @ basis).reshape(2, height, width)


def without(known: np.ndarray, moved: np.ndarray) -> np.ndarray:  # (5, h, w), (2, h, w) -> (5, h, w)
    """Find the evidence of what is left of displacements without `moved`: (xx, xy, yy), and T (f - moved) as (x, y)."""
    xx, xy, yy, fx, fy = known
    x, y = moved
    return np.stack([xx, xy, yy, fx - xx * x - xy * y, fy - xy * x - yy * y])


def _left_over(known: np.ndarray, sheet: np.ndarray) -> np.ndarray:  # (6, h, w), (2, h, w) -> (h, w)
    """(m - f)' T (m - f) of each cell."""
    xx, xy, yy, fx, fy, energy = known
    x, y = sheet
    return np.maximum((xx * x + 2 * xy * y - 2 * fx) * x + (yy * y - 2 * fy) * y + energy, 0)


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    if not len(values):
        return 0.0
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def _solved(known: np.ndarray, stiff: np.ndarray) -> np.ndarray:  # (5, h, w), (rows, columns) -> (2, h, w)
    """The displacements of least energy, of a sheet with a stiffness for each of its quads."""
    rows, columns = stiff.shape
    share, pairs = _shares()
    quads = known.reshape(5, rows, SPACING, columns, SPACING)
    tensor = np.tensordot(quads[:3], pairs, (2, 2))  # (3, rows, columns, SPACING, a, b): corners above and below
    tensor = np.tensordot(tensor, pairs, (3, 2))  # (3, rows, columns, a, b, c, d): corners left and right
    tensor = tensor.transpose(1, 2, 3, 5, 4, 6, 0).reshape(rows, columns, 4, 4, 3)
    matrix = tensor[..., [[0, 1], [1, 2]]].transpose(0, 1, 2, 4, 3, 5).reshape(rows, columns, 8, 8)
    matrix = matrix + stiff[..., None, None] * _strain()
    force = np.tensordot(np.tensordot(quads[3:], share, (2, 1)), share, (3, 1))  # (2, rows, columns, a, c)
    force = force.transpose(1, 2, 3, 4, 0)

    unknowns, band, kept, place, node = _layout(rows, columns)
    lower = np.bincount(place, matrix.reshape(-1)[kept], band * unknowns).reshape(band, unknowns)
    lower[0] += 1e-6 * lower[0].max() + 1e-9  # what nothing holds stays where it is
    right = np.bincount(node, force.reshape(-1), unknowns)
    solved = solveh_banded(lower, right, lower=True, overwrite_ab=True, overwrite_b=True, check_finite=False)
    solved = solved.reshape(columns + 1, rows + 1, 2).transpose(2, 1, 0)
    return _between(rows) @ solved @ _between(columns).T


@lru_cache(maxsize=1)
def _shares() -> tuple[np.ndarray, np.ndarray]:  # (2, SPACING), (2, 2, SPACING)
    """Bilinear weights of the node before and after each cell, and the products of two of them."""
    after = (np.arange(SPACING) + 0.5) / SPACING
    share = np.stack([1 - after, after])
    return share, share[:, None] * share[None]


@lru_cache(maxsize=64)
def _between(quads: int) -> np.ndarray:  # (quads * SPACING, quads + 1)
    """Interpolation from nodes to cells, along one side."""
    share = _shares()[0]
    before = np.kron(np.eye(quads, quads + 1), share[0][:, None])
    return before + np.kron(np.eye(quads, quads + 1, 1), share[1][:, None])


@lru_cache(maxsize=1)
def _strain() -> np.ndarray:  # (8, 8)
    """Strain energy of a square quad, over the displacements of its corners: row, column and axis (x first) of each."""
    corner = np.eye(8).reshape(2, 2, 2, 8)
    in_x, in_y = corner[:, 1] - corner[:, 0], corner[1] - corner[0]  # (2, axis, 8): along upper and lower, left and right side
    stretch = np.concatenate([in_x[:, 0], in_y[:, 1]])
    shear = (in_x[:, 1] + in_y[:, 0]).mean(0)
    return 0.5 * (stretch.T @ stretch + np.outer(shear, shear))


@lru_cache(maxsize=64)
def _layout(rows: int, columns: int) -> tuple[int, int, np.ndarray, np.ndarray, np.ndarray]:
    """Number of unknowns, width of the band, which entries of all quads' matrices lie below the diagonal, where these go in the
    banded matrix, and where the quads' forces go."""
    node = np.arange((rows + 1) * (columns + 1)).reshape(columns + 1, rows + 1).T
    corners = np.stack([node[:-1, :-1], node[:-1, 1:], node[1:, :-1], node[1:, 1:]], -1)
    places = (2 * corners[..., None] + np.arange(2)).reshape(rows, columns, 8)
    below = (places[..., :, None] - places[..., None, :]).reshape(-1)
    column = np.broadcast_to(places[..., None, :], (rows, columns, 8, 8)).reshape(-1)
    kept, unknowns = np.flatnonzero(below >= 0), 2 * node.size
    return unknowns, int(below.max()) + 1, kept, below[kept] * unknowns + column[kept], places.reshape(-1)
