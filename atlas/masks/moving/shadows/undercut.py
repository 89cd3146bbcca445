"""The lower end of a mask found anew, by an exact cut: what lies under the object in a mask is taken off, column by column.

Each column of a mask may lose pixels from below, and nothing else: what has more of the object beneath it stays. So the cut is
one height for each column, and the cheapest heights of all columns are found by dynamic programming, in a few steps a column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlas.geometry.boxes import bounding_box

Costs = tuple[np.ndarray, np.ndarray]
"""What an edge of the result costs between neighbours across, (H, W-1), and down, (H-1, W); none below 0."""


def undercut(mask: np.ndarray, evidence: np.ndarray, costs: Costs) -> np.ndarray:
    """Take from the lower ends of a mask's columns what costs more to keep, (H, W) bool.

    mask: (H, W) bool; evidence: (H, W), what a pixel is worth, positive where it should be kept; costs: of the result's edges.
    A column loses pixels from its lowest run alone. Of all such results it is the one whose worth less its edges' cost is
    greatest.
    """
    box = bounding_box(mask, 1)
    if box is None:
        return mask
    kept = np.zeros_like(mask)
    rows, across = box
    down = (slice(rows.start, rows.stop - 1), across)
    kept[box] = _undercut(mask[box], evidence[box], (costs[0][rows, across.start : across.stop - 1], costs[1][down]))
    return kept


def _undercut(mask: np.ndarray, evidence: np.ndarray, costs: Costs) -> np.ndarray:
    columns = _Columns.of(mask)
    rows = np.arange(len(mask) + 1)[:, None]
    own = np.full(rows.shape[:1] + columns.top.shape, np.inf)
    worth = np.vstack([np.zeros_like(columns.top), np.cumsum(np.where(columns.run, evidence, 0), axis=0)])
    edge = np.zeros_like(own)
    edge[1:-1] = costs[1]
    allowed = (rows >= columns.top) & (rows <= columns.end)
    own[allowed] = (np.where(rows > columns.top, edge, 0) - worth)[allowed]
    heights = _cheapest(own, *columns.between(costs[0]))
    return columns.above | (columns.run & (rows[:-1] < heights))


@dataclass(frozen=True)
class _Columns:
    """A mask's columns: the lowest run of each, from `top` to before `end`, and what lies above it."""

    run: np.ndarray  # (H, W) bool
    above: np.ndarray  # (H, W) bool
    top: np.ndarray  # (W,) int
    end: np.ndarray  # (W,) int; both 0 in a column without any

    @classmethod
    def of(cls, mask: np.ndarray) -> _Columns:
        height = len(mask)
        rows = np.arange(height)[:, None]
        end = np.where(mask.any(axis=0), height - mask[::-1].argmax(axis=0), 0)
        top = np.where(~mask & (rows < end), rows + 1, 0).max(axis=0)
        run = mask & (rows >= top)
        return cls(run, mask & ~run, top, end)

    def between(self, across: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What edges between neighbouring columns cost, (H+1, W-1) thrice.

        That is what those cost that the left column's height alone decides, those that the right one's does, and a measure in
        which the distance of both heights is what those cost that both decide.
        """
        left, right = self.run[:, :-1], self.run[:, 1:]
        by_left = left & ~right
        by_right = right & ~left
        ways = (
            np.where(by_left, np.where(self.above[:, 1:], -across, across), 0),
            np.where(by_right, np.where(self.above[:, :-1], -across, across), 0),
            np.where(left & right, across, 0),
        )
        alone_left, alone_right, both = (np.vstack([np.zeros_like(way[:1]), np.cumsum(way, axis=0)]) for way in ways)
        return alone_left, alone_right, both


def _cheapest(own: np.ndarray, left: np.ndarray, right: np.ndarray, measure: np.ndarray) -> np.ndarray:  # (W,) int
    """The height of each column so that all costs together are least: `own` (H+1, W), and those of `_Columns.between`."""
    total = own[:, 0]
    totals = [total]
    for place in range(own.shape[1] - 1):
        along, before = measure[:, place], total + left[:, place]
        # The distance in the measure, which grows with the height, is either way one running minimum.
        higher = np.minimum.accumulate(before - along) + along
        lower = np.minimum.accumulate((before + along)[::-1])[::-1] - along
        total = np.minimum(higher, lower) + right[:, place] + own[:, place + 1]
        totals.append(total)
    heights = [int(totals[-1].argmin())]
    for place in range(own.shape[1] - 2, -1, -1):
        along = measure[:, place]
        heights.append(int((totals[place] + left[:, place] + np.abs(along - along[heights[-1]])).argmin()))
    return np.array(heights[::-1])
