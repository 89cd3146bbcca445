"""Fit values on a lattice by regularised least squares: trilinear look-ups and differences as matrices, and their solution."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import scipy.sparse as sparse

_EXACT = 3e-4  # of the right side's length: what is left then is far below an 8-bit step
_STEPS = 150


def corners(places: np.ndarray, shape: Sequence[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:  # (M, 3) in nodes
    """Yield the eight nodes around each place of a lattice, by their flat number (M,), and each one's trilinear share (M,)."""
    low = np.minimum(places.astype(np.int64), np.array(shape) - 2)
    beyond = places - low
    for corner in np.ndindex(2, 2, 2):
        share = np.prod(np.where(corner, beyond, 1 - beyond), axis=1)
        yield np.ravel_multi_index(tuple((low + corner).T), tuple(shape)), share


def squared_differences(shape: Sequence[int], stencil: Sequence[float]) -> sparse.csr_array:
    """Sum the squares of differences along each axis of a lattice, as a matrix. stencil: (-1, 1), or (1, -2, 1) for bending."""
    size = int(np.prod(shape))
    total = sparse.csr_array((size, size))
    for axis, count in enumerate(shape):
        rows = count - len(stencil) + 1
        step = sparse.diags_array([float(s) for s in stencil], offsets=list(range(len(stencil))), shape=(rows, count))
        parts = [step if axis == other else sparse.eye_array(length) for other, length in enumerate(shape)]
        difference = sparse.kron(sparse.kron(parts[0], parts[1]), parts[2])
        total = total + difference.T @ difference
    return sparse.csr_array(total)


def solved(
    matrix: sparse.csr_array,  # (n, n) symmetric, positive definite
    right: np.ndarray,  # (n, C)
    start: np.ndarray | None = None,  # (n, C)
    blocks: int = 1,
) -> np.ndarray:  # (n, C)
    """Solve matrix @ x = right by conjugate gradients, preconditioned by the diagonal.

    blocks: unknowns, one after the other, that are preconditioned together (block Jacobi), such as an affine map's.

    The channels share the products with the matrix, which are all of the work: three at once take half as long again as one.
    """
    precondition = _inverse_diagonal(matrix, blocks)
    x = np.zeros_like(right) if start is None else start.copy()
    left = right - matrix @ x
    enough = _EXACT**2 * np.maximum((right * right).sum(0), 1e-300)
    eased = precondition(left)
    along, product = eased.copy(), _dots(left, eased)
    for _ in range(_STEPS):
        if (_dots(left, left) <= enough).all():
            break
        image = matrix @ along
        step = product / np.maximum(_dots(along, image), 1e-300)
        x += step * along
        left -= step * image
        eased = precondition(left)
        before, product = product, _dots(left, eased)
        along = eased + product / np.maximum(before, 1e-300) * along
    return x


def _inverse_diagonal(matrix: sparse.csr_array, blocks: int) -> Callable[[np.ndarray], np.ndarray]:  # (n, C) -> (n, C)
    """Give what multiplies by the inverse of the matrix's diagonal, or of its diagonal blocks."""
    if blocks == 1:
        weight = 1 / matrix.diagonal()[:, None]
        return lambda values: weight * values
    entries, count = sparse.coo_array(matrix), matrix.shape[0] // blocks
    row, column = entries.coords
    inside = row // blocks == column // blocks
    diagonal = np.zeros((count, blocks, blocks))
    np.add.at(diagonal, (row[inside] // blocks, row[inside] % blocks, column[inside] % blocks), entries.data[inside])
    inverse = np.linalg.inv(diagonal)
    return lambda values: np.matmul(inverse, values.reshape(count, blocks, -1)).reshape(values.shape)


def _dots(one: np.ndarray, other: np.ndarray) -> np.ndarray:  # (n, C), (n, C) -> (C,)
    return np.einsum("nc,nc->c", one, other)
