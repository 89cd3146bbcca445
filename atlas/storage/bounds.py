"""Bounds of the numbers in files: a few bytes of a stranger's file can claim any size, and memory or time would follow."""

from __future__ import annotations

LARGEST_SIDE = 16384
"""Pixels of a frame's longer side."""
MOST_VIDEO_PIXELS = 8192 * 4320
"""Pixels of a video's frame, those of 8K: the smallest of files can hold such frames, and several are decoded at once."""
MOST_FRAMES = 100_000
"""Frames of a clip: an hour at 24 a second."""
MOST_VIDEO_FRAMES = 2_000_000
"""Frames of a video that clips are taken from: nine hours at 60 a second."""
SLOWEST, FASTEST = 1e-4, 1000.0
"""Frames per second. What is slower has no fraction with a denominator of at most 10000."""


def is_rate(fps: object) -> bool:
    """Whether a value is a number of frames per second that frames can be shown at."""
    return isinstance(fps, int | float) and not isinstance(fps, bool) and SLOWEST <= fps <= FASTEST


def is_side(pixels: object) -> bool:
    """Whether a value is a possible width or height of a frame."""
    return type(pixels) is int and 1 <= pixels <= LARGEST_SIDE
