"""Which frames of a source a clip takes, and how much of a film is looked at for that."""

from __future__ import annotations

from pathlib import Path

from atlas.errors import UserError
from atlas.storage.bounds import MOST_FRAMES
from atlas.video.rate import picked_frames
from atlas.video.source import FrameSource, open_source

_AHEAD = 100
"""Frames of a film that are listed beyond those taken, so that its rate is known well."""


def open_taken(
    path: Path, start: int, frames: int | None, fps: float | None, *, whole: bool = False
) -> tuple[FrameSource, list[int]]:
    """Open a source and pick the frames that are taken: from frame `start`, `frames` of them (None: to the end), at `fps`.

    Of a long film only as much is decoded to list its frames as those taken need, unless `whole` asks for all.
    Raises UserError where there are not as many, or too few or too many for a clip.
    """
    most = None if whole or frames is None else start + 2 * frames + _AHEAD
    while True:
        source = open_source(path, fps, most)
        wanted_fps = fps if source.video else None
        in_reach = start < source.frames
        indices = picked_frames(source.times, source.fps, start, frames, wanted_fps) if in_reach else []
        if most is None or source.video is None or source.video.whole or len(indices) == frames:
            break
        most *= 2
    _check(source, indices, start, frames, fps)
    return source, indices


def _check(source: FrameSource, indices: list[int], start: int, frames: int | None, fps: float | None) -> None:
    path = source.path
    if not indices:
        raise UserError(f"--start {start} is past the end: {path} has {source.frames} frames")
    if len(indices) > MOST_FRAMES:
        raise UserError(f"{path} gives more than {MOST_FRAMES} frames: take fewer with --frames, or a lower --fps")
    if frames is not None and len(indices) < frames:
        raise UserError(f"--frames {frames} is too many: {path} gives {len(indices)} from frame {start} on")
    if len(indices) < 2:
        raise UserError(f"{path} gives one single frame from frame {start} on, a fit needs at least two")
    if len(set(indices)) < 2 and fps is None:
        raise UserError(f"{path} holds frame {start} for all that time, a fit needs at least two: take more with --frames")
    if len(set(indices)) < 2:
        raise UserError(f"--fps {fps:g} repeats one single frame, a fit needs at least two: choose a lower rate")
