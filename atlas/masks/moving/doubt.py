"""Doubts about masks that were found: frames in which little decided, parts came or went, or the object was lost."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from atlas.clip.runs import runs
from atlas.errors import a_few
from atlas.geometry.flow import along_flow
from atlas.masks.moving.along import FlowStacks

_CHANGED = 0.7
"""Overlap with the mask of the frame before, carried along the flow, below which parts came or went."""
_LOST, _AROUND = 0.6, 12
"""Share of the largest area within so many frames below which parts are missing."""
_UNDECIDED = 0.5
"""Share of the mask's area that might as well be outside, or that of the outside that might as well be inside."""


def doubtful(
    frames: int,
    mask: Callable[[int], np.ndarray],  # frame -> (H, W) bool
    undecided: Callable[[int], np.ndarray],  # frame -> (H, W) bool: the evidence is nearly even there
    flows: FlowStacks,
) -> list[int]:
    """Find the frames whose masks should be looked at, in order; memory does not grow but by a few numbers a frame."""
    areas, open_shares, overlaps = np.zeros(frames), np.zeros(frames), np.ones(frames)
    previous = np.zeros(flows.forward.shape[1:3], bool)
    for index in range(frames):
        current = mask(index)
        areas[index] = np.count_nonzero(current)
        open_shares[index] = np.count_nonzero(undecided(index)) / max(1.0, areas[index])
        if index:
            carried = along_flow(previous.astype(np.float32), flows.backward[index - 1].astype(np.float32)) > 0.5
            either = np.count_nonzero(carried | current)
            overlaps[index] = np.count_nonzero(carried & current) / either if either else 1.0
        previous = current
    most = np.array([areas[max(0, index - _AROUND) : index + _AROUND + 1].max() for index in range(frames)])
    return np.flatnonzero((areas < _LOST * most) | (overlaps < _CHANGED) | (open_shares > _UNDECIDED)).tolist()


def frame_ranges(frames: list[int]) -> str:
    """Name frames in a few words: "3, 5-9 and 12"."""
    return a_few([str(run.start) if len(run) == 1 else f"{run.start}-{run.stop - 1}" for run in runs(frames)], 6)
