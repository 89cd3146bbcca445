"""EXIF orientation: which way up a camera was held, and the turn that makes its pixels upright."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_TAG, _SHORT, _ENTRY = 0x0112, 3, 12
_MOST_ENTRIES = 1000
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: image[::-1].swapaxes(0, 1),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: image.swapaxes(0, 1)[::-1],
}
"""Of TIFF 6.0: the stored picture's first row and first column are the shown one's top and left (1), top and right (2), ..."""


def orientation(exif: bytes) -> int:
    """Read the orientation of Exif data, 1 (upright) to 8, from its first directory; 1 where it says none that can be."""
    tiff = exif.removeprefix(b"Exif\0\0")  # some programs write that into PNGs too
    if tiff[:4] not in (b"II*\0", b"MM\0*"):
        return 1

    def number(start: int, length: int) -> int:
        return int.from_bytes(tiff[start : start + length], "little" if tiff[:1] == b"I" else "big")

    directory = number(4, 4)
    for entry in range(min(number(directory, 2), _MOST_ENTRIES)):
        start = directory + 2 + entry * _ENTRY
        if number(start, 2) == _TAG:
            value = number(start + 8, 2) if number(start + 2, 2) == _SHORT else 1
            return value if value in _TURNS else 1
    return 1


def upright(
    image: np.ndarray,  # (H, W, C) or (H, W)
    orientation: int,
) -> np.ndarray:  # (H, W, C) or (W, H, C)
    """Turn and mirror a picture as its EXIF orientation asks."""
    return _TURNS[orientation](image) if orientation in _TURNS else image
