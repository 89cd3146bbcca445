"""The contact sheet of a comparison: a row for each method, a column for each of a few frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from atlas.storage.images import read_image, write_image
from atlas.system.decoration import decoration
from atlas.video.sheet import contact_sheet, spread, thumbnail

SHEET, SOURCE = "methods.png", "source"
_FRAMES = 6
_FONT, _LARGEST_TEXT, _EDGE = cv2.FONT_HERSHEY_SIMPLEX, 0.5, 6


def write_strip(path: Path, frames: Iterable[np.ndarray]) -> None:  # (H, W, 3) uint8 each
    """Write small copies of the frames that are shown of a clip side by side, as one picture."""
    write_image(path, np.concatenate([thumbnail(frame) for frame in frames], 1))


def columns(frames: int) -> list[int]:
    """Choose the frames that are shown of a clip."""
    return spread(frames, _FRAMES)


def write_sheet(path: Path, strips: Mapping[str, Path], frames: int) -> None:
    """Write the sheet of strips by what they show, as `write_strip` wrote them; those that are not there are left out."""
    with decoration(str(path)):
        _write_sheet(path, strips, columns(frames))


def _write_sheet(path: Path, strips: Mapping[str, Path], numbers: list[int]) -> None:
    rows = {name: np.split(read_image(file), len(numbers), 1) for name, file in strips.items() if file.is_file()}
    if not rows:
        return
    names = [_named(name, next(iter(rows.values()))[0].shape) for name in rows]
    shown: Iterable[Sequence[np.ndarray]] = zip(*rows.values(), strict=True)
    write_image(path, contact_sheet([("", names), *zip(map(str, numbers), shown, strict=True)]))


def _named(name: str, shape: tuple[int, ...]) -> np.ndarray:  # (H, W, 3) uint8
    """A tile with a name on it, in place of a picture."""
    tile = np.full(shape, 24, np.uint8)
    (width, _), _ = cv2.getTextSize(name, _FONT, 1, 1)
    scale = min(_LARGEST_TEXT, (shape[1] - 2 * _EDGE) / width)
    cv2.putText(tile, name, (_EDGE, shape[0] // 2), _FONT, scale, (220, 220, 220), 1, cv2.LINE_AA)
    return tile
