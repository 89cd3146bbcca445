"""Elastic sheets: motions known in part are found whole, and what moves over a surface is told from what moves with it."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.geometry.elastic import fit_sheet

CORNER, UPRIGHT, LEVEL, SLANTING = (1, 0, 1), (1, 0, 0), (0, 0, 1), (0.5, 0.5, 0.5)


def evidence(tensors: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """What cells of structure tensors (h, w, 3) know of vectors (h, w, 2), with the energy."""
    (xx, xy, yy), (x, y) = np.moveaxis(tensors, -1, 0), np.moveaxis(vectors, -1, 0)
    fx, fy = xx * x + xy * y, xy * x + yy * y
    return np.stack([xx, xy, yy, fx, fy, fx * x + fy * y], -1).astype(np.float32)


def turned(height: int, width: int, angle: float = 0.08) -> np.ndarray:
    """A rotation with a shift."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([1 - angle * (y - 10), angle * (x - 20) - 2], -1)


def scattered(height: int, width: int, share: float, tensor: tuple[float, float, float] = CORNER) -> np.ndarray:
    tensors = np.zeros((height, width, 3))
    tensors[np.random.default_rng(0).random((height, width)) < share] = tensor
    return tensors


def full(shape: tuple[int, ...]) -> np.ndarray:
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(("height", "width"), [(30, 50), (50, 30), (7, 9), (108, 192)])
def test_a_rotation_and_an_affinity_are_carried_into_bare_surfaces(height: int, width: int) -> None:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    affinity = np.stack([3 + 0.02 * x - 0.05 * y, 0.04 * x - 0.03 * y - 1], -1)
    tensors = scattered(height, width, 0.15)
    tensors[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = 0
    for true in (turned(height, width), affinity):
        sheet, weight = fit_sheet(evidence(tensors, true), full((height, width)), stiffness=1.0, certain=0.1)
        assert weight[tensors[..., 0] > 0].min() > 0.2  # of a large sheet: what differs within the cells that it is solved on
        inner = slice(2, -2)  # a large sheet is solved on fewer cells, and constant beyond the outermost
        np.testing.assert_allclose(sheet[inner, inner], true[inner, inner], atol=0.1)


def test_edges_tell_of_what_moves_across_them_alone() -> None:
    """Long edges in two directions; what is said along them is wrong, and has no weight."""
    tensors = np.zeros((32, 48, 3))
    tensors[:, ::6], tensors[::8] = UPRIGHT, LEVEL
    vectors = np.full((32, 48, 2), (2.0, -1.0))
    vectors[:, ::6, 1], vectors[::8, :, 0] = 40, -40
    sheet, _ = fit_sheet(evidence(tensors, vectors), full((32, 48)), stiffness=1.0, certain=0.1)
    assert np.abs(sheet[4:-4, 4:-4] - (2, -1)).mean() < 0.1


def test_what_moves_over_a_surface_is_rejected() -> None:
    """A bare surface with few marks turns; a strong straight edge (of a shadow) moves over it on its own."""
    true = turned(40, 60)
    tensors, vectors = scattered(40, 60, 0.08), true.copy()
    tensors[5:35, 28:31] = UPRIGHT
    vectors[5:35, 28:31, 0] += 4
    sheet, weight = fit_sheet(evidence(tensors, vectors), full((40, 60)), stiffness=1.0, certain=0.1)
    assert np.linalg.norm(sheet - true, axis=-1).max() < 0.3
    assert weight[5:35, 28:31].max() < 0.01


def test_a_part_that_turns_about_a_joint_is_followed() -> None:
    """A leg below a body, as it swings: a rotation strains nothing but the joint."""
    y, x = np.mgrid[:60, :40].astype(np.float32)
    true = np.zeros((60, 40, 2), np.float32)
    leg = (y >= 30) & (abs(x - 20) < 6)
    true[leg] = np.stack([-0.1 * (y - 30), 0.1 * (x - 20)], -1)[leg]
    present = (leg | (y < 30)).astype(np.float32)
    tensors = scattered(60, 40, 0.5) * present[..., None]
    sheet, weight = fit_sheet(evidence(tensors, true), present, stiffness=1.0, certain=0.1)
    middle = (y > 38) & (y < 56) & (abs(x - 20) < 4)
    assert np.linalg.norm(sheet - true, axis=-1)[middle].mean() < 0.4 and weight[middle].mean() > 0.3


def test_sides_that_change_places_change_nothing_else() -> None:
    tensors, vectors = scattered(24, 40, 0.2, SLANTING) + scattered(24, 40, 0.2), turned(24, 40)
    known = evidence(tensors, vectors)
    other = np.ascontiguousarray(known.transpose(1, 0, 2)[..., [2, 1, 0, 4, 3, 5]])
    sheet, weight = fit_sheet(known, full((24, 40)), stiffness=1.0, certain=0.1)
    across, same = fit_sheet(other, full((40, 24)), stiffness=1.0, certain=0.1)
    np.testing.assert_array_equal(sheet, across.transpose(1, 0, 2)[..., ::-1])
    np.testing.assert_array_equal(weight, same.T)


def test_what_nothing_is_known_of_stays() -> None:
    sheet, _ = fit_sheet(np.zeros((10, 14, 6), np.float32), full((10, 14)), stiffness=1.0, certain=0.1)
    assert not sheet.any()


def test_edges_of_one_slanted_direction_move_nothing_along_them() -> None:
    """Diagonal stripes all over: what rounding leaves of the determinant is not blown up."""
    strength = np.random.default_rng(0).uniform(0.01, 1, (48, 64))
    known = evidence(strength[..., None] * SLANTING, np.full((48, 64, 2), (2.0, 0.0)))
    sheet, _ = fit_sheet(known, full((48, 64)), stiffness=1.0, certain=0.1)
    np.testing.assert_allclose(sheet.sum(-1), 2, atol=0.05)
    assert np.abs(sheet[..., 0] - sheet[..., 1]).max() < 0.5
