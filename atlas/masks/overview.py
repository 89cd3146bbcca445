"""Contact sheet of frames and their masks, which shows at once what was taken for the foreground."""

from __future__ import annotations

import cv2
import numpy as np

from atlas.clip.clip import Clip

_COLOURS = [(255, 60, 40), (40, 200, 255), (255, 220, 0), (120, 255, 60), (255, 90, 255), (255, 150, 40)]
_TILE = 320


def mask_sheet(clip: Clip, count: int = 12) -> np.ndarray:
    """About a dozen frames spread over the clip, each beside itself with its masks: (H, W, 3) uint8 RGB.

    What is not foreground is dimmed; each object's outline has its own colour; the frame's number stands in the corner.
    """
    chosen = np.unique(np.linspace(0, clip.frames - 1, min(count, clip.frames)).round().astype(int))
    scale = _TILE / max(clip.width, clip.height)
    size = max(1, round(clip.width * scale)), max(1, round(clip.height * scale))
    tiles = [_tile(clip, int(index), size) for index in chosen]
    columns = min(len(tiles), 2 if size[0] >= size[1] else 3)
    gap = 4
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for place, tile in enumerate(tiles):
        top, left = place // columns * (height + gap), place % columns * (width + gap)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def _tile(clip: Clip, index: int, size: tuple[int, int]) -> np.ndarray:
    frame = cv2.resize(clip.frame(index), size, interpolation=cv2.INTER_AREA)
    masks = [cv2.resize(clip.mask(layer, index), size, interpolation=cv2.INTER_AREA) for layer in clip.objects]
    inside = np.max(masks, axis=0)[:, :, None] / 255.0
    marked = (frame * (0.3 + 0.7 * inside)).astype(np.uint8)
    for number, mask in enumerate(masks):
        outline, _ = cv2.findContours((mask > 127).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(marked, outline, -1, _COLOURS[number % len(_COLOURS)], 2)
    frame = np.ascontiguousarray(frame)
    for colour, thickness in (((0, 0, 0), 4), ((255, 255, 255), 1)):
        cv2.putText(frame, str(index), (6, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, thickness, cv2.LINE_AA)
    return np.concatenate([frame, marked], axis=1)
