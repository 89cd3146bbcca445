"""The cut of lower ends is the best of all, as trying all of them shows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from atlas.masks.moving.shadows.undercut import Costs, undercut

MASKS = {
    "whole": ["###", "###", "###"],
    "arch": ["####", "####", "#..#", "#..#"],
    "two parts": ["##..", "#..#", "..##", "#.##"],
    "empty columns": [".#.#", ".#.#", ".###"],
}


def total(kept: np.ndarray, evidence: np.ndarray, costs: Costs) -> float:
    edges = (np.diff(kept.astype(int), axis=1) != 0, np.diff(kept.astype(int), axis=0) != 0)
    return float(sum((cost * edge).sum() for cost, edge in zip(costs, edges, strict=True)) - evidence[kept].sum())


def all_of(mask: np.ndarray) -> list[np.ndarray]:
    """All masks that are left when columns lose pixels of their lowest runs from below."""
    ways = []
    for column in mask.T:
        kept, left = [column], column.copy()
        for row in range(len(column) - 1, -1, -1):
            if left[row]:
                left = left.copy()
                left[row] = False
                kept.append(left)
            elif kept[1:]:
                break
        ways.append(kept)
    return [np.stack(columns, axis=1) for columns in itertools.product(*ways)]


@pytest.mark.parametrize("rows", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("seed", range(6))
def test_none_is_better(rows: list[str], seed: int) -> None:
    mask = np.array([[one == "#" for one in row] for row in rows])
    draw = np.random.default_rng(seed)
    height, width = mask.shape
    evidence = draw.normal(-0.3, 1, mask.shape)
    costs = (draw.uniform(0, 1.5, (height, width - 1)), draw.uniform(0, 1.5, (height - 1, width)))
    found = undercut(mask, evidence, costs)
    best = min(total(kept, evidence, costs) for kept in all_of(mask))
    assert any((found == kept).all() for kept in all_of(mask))
    assert total(found, evidence, costs) == pytest.approx(best)


def test_nothing_is_taken_from_above_what_stays() -> None:
    mask, evidence = np.ones((6, 4), bool), np.full((6, 4), -5.0)
    evidence[4] = 50
    free = (np.zeros((6, 3)), np.zeros((5, 4)))
    kept = undercut(mask, evidence, free)
    assert kept[:5].all() and not kept[5].any()


def test_an_empty_mask_stays_empty() -> None:
    nothing = np.zeros((4, 5), bool)
    assert not undercut(nothing, np.ones((4, 5)), (np.ones((4, 4)), np.ones((3, 5)))).any()
