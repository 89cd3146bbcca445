"""Mask propagation by optical flow: frames that have no mask get one from the nearest frames that do.

A frame whose mask file is missing gets one. A frame whose mask is empty between frames where it is not gets one too
where the flow finds the object in it on both sides; where it does not, the object is hidden there, and stays so.
"""

from __future__ import annotations

import numpy as np

from atlas.clip.clip import Clip
from atlas.clip.runs import runs
from atlas.geometry.flow import along_flow
from atlas.storage.images import write_image

LONGEST = 12
"""Missing masks in a row that flow can bridge."""
_LONGEST_EMPTY = 3  # empty masks in a row that may be gaps and not the object's absence
_CONFIRMED = 0.6  # share of the object that the flow must confirm for it to be seen where its mask is empty


def bridgeable(missing: list[bool]) -> bool:
    """Whether the frames whose mask is missing can be filled in: not too many in a row, and none but the last of a
    pattern ("every second frame") at an end, where a mask folder may simply be too short, or another clip's."""
    gaps = runs(np.flatnonzero(missing))
    inner = [len(gap) for gap in gaps if gap.start > 0 and gap.stop < len(missing)]
    ends = [len(gap) for gap in gaps if gap.start == 0 or gap.stop == len(missing)]
    return max(inner, default=0) <= LONGEST and max(ends, default=0) <= max(inner, default=1) and not all(missing)


def fill_gaps(
    clip: Clip,  # with masks and flow
    layer: str,
    missing: list[int],  # frames, ascending, that have no mask file of their own
) -> list[int]:
    """Propagate masks of an object by optical flow into the frames that lack one, and write them; returns those frames."""
    filled: list[int] = []
    for run in runs(missing):
        filled += _fill(clip, layer, run)
    empty = [index for index in range(clip.frames) if index not in missing and not clip.mask(layer, index).any()]
    for run in runs(empty):
        inside = run.start > 0 and run.stop < clip.frames and len(run) <= _LONGEST_EMPTY
        if inside and _seen_throughout(clip, layer, run):
            filled += _fill(clip, layer, run)
    return sorted(filled)


def _fill(clip: Clip, layer: str, run: range) -> list[int]:
    sides = []
    if run.start > 0:
        sides.append(_carry(clip, layer, run.start - 1, run))
    if run.stop < clip.frames:
        sides.append(_carry(clip, layer, run.stop, run)[::-1])
    if not sides:
        return []
    for place, index in enumerate(run):
        # The nearer side counts more.
        shares = [len(run) - place, place + 1] if len(sides) == 2 else [1]
        mask = sum(share * side[place] for share, side in zip(shares, sides, strict=True)) / sum(shares)
        write_image(clip.mask_path(layer, index), np.clip((mask - 64) * 2, 0, 255).astype(np.uint8))
    return list(run)


def _carry(clip: Clip, layer: str, start: int, run: range) -> list[np.ndarray]:
    """Propagate the mask of frame `start`, next to the run, through it: (H, W) float32 each, nearest first."""
    mask = clip.mask(layer, start).astype(np.float32)
    masks = []
    for index in run if start < run.start else reversed(run):
        mask = along_flow(mask, _flow_to(clip, index, start)[0])
        masks.append(mask)
        start = index
    return masks


def _flow_to(clip: Clip, index: int, neighbour: int) -> tuple[np.ndarray, np.ndarray]:
    """Flow from a frame to a neighbour, and where it is valid."""
    way = "forward" if neighbour > index else "backward"
    place = min(index, neighbour)
    return clip.checked_flow(clip.flow(way)[place]), clip.flow_validity(way)[place]


def _seen_throughout(clip: Clip, layer: str, run: range) -> bool:
    """Whether valid flow leads from the object on both sides of the run through all of it."""
    for start, order in ((run.start - 1, run), (run.stop, run[::-1])):
        mask = clip.mask(layer, start).astype(np.float32)
        for index in order:
            flow, valid = _flow_to(clip, index, start)
            mask = along_flow(mask, flow)
            inside = mask > 127
            if not inside.any() or valid[inside].mean() < _CONFIRMED:
                return False
            start = index
    return True
