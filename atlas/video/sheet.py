"""Contact sheets: a few frames side by side, so that one look tells how a clip came out."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

_GAP, _LABEL = 4, 18


def spread(frames: int, count: int) -> list[int]:
    """Spread `count` frame numbers evenly over a clip, first and last among them; all of them where there are fewer."""
    return sorted({round(i) for i in np.linspace(0, frames - 1, count)})


def thumbnail(image: np.ndarray, side: int = 320) -> np.ndarray:
    """Shrink (H, W, 3) uint8 so that its longer side is at most `side`."""
    scale = side / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def even(image: np.ndarray) -> np.ndarray:
    """Pad (H, W, 3) to even sides, its edge repeated: phones and browsers play 4:2:0 alone, which has no odd sizes."""
    return np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge")


def contact_sheet(
    columns: Sequence[tuple[str, Sequence[np.ndarray]]],  # (label, images from top to bottom), (H, W, 3) uint8 of one size
) -> np.ndarray:  # (H', W', 3) uint8
    """Lay images out in columns on a dark ground, each column under its label."""
    height, width = columns[0][1][0].shape[:2]
    rows = max(len(images) for _, images in columns)
    sheet = np.full((_LABEL + rows * (height + _GAP) + _GAP, len(columns) * (width + _GAP) + _GAP, 3), 24, np.uint8)
    for number, (label, images) in enumerate(columns):
        left = _GAP + number * (width + _GAP)
        cv2.putText(sheet, label, (left, _LABEL - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (220, 220, 220), 1, cv2.LINE_AA)
        for row, image in enumerate(images):
            top = _LABEL + _GAP + row * (height + _GAP)
            sheet[top : top + height, left : left + width] = image
    return sheet
