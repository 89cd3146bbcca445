"""Bounding boxes: the rows and columns of an image that hold all that is not zero."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # preparing a clip has masks with boxes, and does without torch
    from torch import Tensor

Box = tuple[slice, slice]
"""Rows and columns of an image, whole numbers from start to stop."""
EMPTY: Box = (slice(0, 0), slice(0, 0))


def bounding_box(
    inside: np.ndarray | Tensor,  # (H, W), non-zero inside
    margin: int = 0,
) -> Box | None:
    """Find the box that holds every non-zero pixel, `margin` pixels wider where the image has room; None where all are zero.

    A 2x3 block of ones at row 4, column 5 of a larger image has the box (4:6, 5:8), with a margin of 1 (3:7, 4:9).
    """
    spans = []
    for axis, length in ((1, inside.shape[0]), (0, inside.shape[1])):
        profile = inside.any(axis)
        places = np.flatnonzero(profile.cpu() if hasattr(profile, "cpu") else profile)
        if not len(places):
            return None
        spans.append(slice(max(int(places[0]) - margin, 0), min(int(places[-1]) + 1 + margin, length)))
    return spans[0], spans[1]


def sides_of(box: Box) -> tuple[int, int]:
    """Measure a box: (h, w)."""
    rows, columns = box
    return rows.stop - rows.start, columns.stop - columns.start


def union_of(boxes: Sequence[Box]) -> Box:
    """Find the smallest box that holds all of `boxes`, at least one."""
    rows, columns = zip(*boxes, strict=True)
    return (
        slice(min(s.start for s in rows), max(s.stop for s in rows)),
        slice(min(s.start for s in columns), max(s.stop for s in columns)),
    )


def box_within(box: Box, outer: Box) -> Box:
    """Shift a box of the image to the coordinates of an `outer` box that holds it."""
    rows, columns = (slice(s.start - o.start, s.stop - o.start) for s, o in zip(box, outer, strict=True))
    return rows, columns


def box_at(
    top: int,
    left: int,
    part: tuple[int, ...],  # (h, w, ...)
    image: tuple[int, ...],  # (H, W, ...)
) -> Box:
    """Find the box of an image that a part of it fills, by their shapes; ValueError where it does not lie in it."""
    bottom, right = top + part[0], left + part[1]
    if not (0 <= top < bottom <= image[0] and 0 <= left < right <= image[1] and part[2:] == image[2:]):
        raise ValueError(f"{part} from row {top} and column {left} on does not lie in an image of {image}")
    return slice(top, bottom), slice(left, right)


def blocks(box: Box, side: int) -> Iterator[Box]:
    """Cut a box into blocks of `side` pixels along each side, row by row; those at its far ends are smaller."""
    rows, columns = ([slice(at, min(at + side, span.stop)) for at in range(span.start, span.stop, side)] for span in box)
    return ((row, column) for row in rows for column in columns)
