"""Half-size pictures for coarse registration: a track and what it is registered by, at a quarter of the pixels.

What is smoothed over many pixels is as well seen at half their number along a side. The grid of offsets keeps its nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from atlas.fitting.data import MARGIN, Look
from atlas.fitting.tracking import Track
from atlas.geometry.boxes import bounding_box
from atlas.geometry.filling import cell_means


def halved_track(track: Track) -> Track:
    """Scale a track to frames, and to a reference view, of half the size; pixel centres are at whole numbers in both."""
    size = halved_size((track.height, track.width))
    scale = np.array([size[1] / track.width, size[0] / track.height])
    change = np.array([[scale[0], 0, scale[0] / 2 - 0.5], [0, scale[1], scale[1] / 2 - 0.5], [0, 0, 1]])
    base = change @ track.base @ np.linalg.inv(change)
    return Track(base / base[:, 2:, 2:], track.offset * scale.astype(np.float32), *size)


def with_offsets_of(track: Track, half: Track) -> Track:
    """Give a track the offsets of one of half its size."""
    scale = np.array([track.width / half.width, track.height / half.height], np.float32)
    return replace(track, offset=half.offset * scale)


def halved_looks(looks: Callable[[int], Look | None], frame: tuple[int, int]) -> Callable[[int], Look | None]:
    """Halve what `looks` shows of frames of a size (H, W)."""
    size = halved_size(frame)

    def half(t: int) -> Look | None:
        look = looks(t)
        if look is None:
            return None
        halved = cell_means([*np.moveaxis(look.colour, -1, 0), look.weight], look.box, frame, size)
        box = bounding_box(halved[..., 3], MARGIN // 2)
        return None if box is None else Look(box, np.ascontiguousarray(halved[box][..., :3]), halved[box][..., 3].copy())

    return half


def halved_size(frame: tuple[int, int]) -> tuple[int, int]:
    """Half of (H, W), in whole pixels."""
    return -(-frame[0] // 2), -(-frame[1] // 2)
