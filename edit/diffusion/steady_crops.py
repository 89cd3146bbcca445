"""Steady crops: boxes of one size, one for each frame, that follow a layer without trembling.

Noise, joint attention and grids of all frames need latents of one size; a box that jumps by pixels makes a picture jump too.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.signal import savgol_filter

from edit.diffusion.crop import MARGIN, Crop, model_size

_SMOOTH = 7, 2  # frames and order of the Savitzky-Golay filter along the boxes' way
_NEARLY_ALL = 0.8  # of the frame's area: a larger box is the whole frame
_STEP = 8  # pixels: the box's sides are multiples of this where the frame has room


def steady_crops(
    opacities: Iterable[np.ndarray],  # of each frame (H, W), the layer's visible opacity
    size: int,  # the model's own
    *,
    margin: int = MARGIN,
) -> list[Crop]:
    """Choose crops of one size that follow a layer: that of its largest box, centred on each frame's, smoothed over time.

    Each holds the layer's own box of its frame and `margin` pixels around it, as far as the frame has room. The whole frame,
    still, where the box would take most of it. A frame without the layer has the crop of the frames around it. The shorter
    side is seen by the model as `size`, both as multiples of 64.
    """
    boxes, height, width = [], 0, 0
    for opacity in opacities:
        height, width = opacity.shape
        crop = Crop.around(opacity, size, margin)
        boxes.append((np.nan,) * 4 if crop is None else (crop.top, crop.bottom, crop.left, crop.right))
    known = np.array(boxes, float)  # (T, 4)
    if np.isnan(known).all():
        return [whole_crop(height, width, size)] * len(boxes)
    known = _bridged(known)
    down = min(_rounded(float((known[:, 1] - known[:, 0]).max())), height)
    across = min(_rounded(float((known[:, 3] - known[:, 2]).max())), width)
    if down * across > _NEARLY_ALL * height * width:
        return [whole_crop(height, width, size)] * len(boxes)
    tops = _corners(known[:, 0], known[:, 1], down, height)
    lefts = _corners(known[:, 2], known[:, 3], across, width)
    seen = model_size(down, across, size)
    return [Crop(top, left, top + down, left + across, *seen) for top, left in zip(tops, lefts, strict=True)]


def whole_crop(height: int, width: int, size: int) -> Crop:
    """The whole frame, at the size that the model sees."""
    return Crop(0, 0, height, width, *model_size(height, width, size))


def _corners(low: np.ndarray, high: np.ndarray, length: int, limit: int) -> list[int]:  # (T,), (T,)
    """Where boxes of one length begin: around the middles of [low, high), smoothed, and still holding these."""
    middles = (low + high) / 2
    frames, order = _SMOOTH
    if len(middles) >= frames:
        middles = savgol_filter(middles, frames, order, mode="interp")
    begin = np.round(middles - length / 2)
    begin = np.clip(begin, high - length, low)  # the frame's own box stays inside
    return [int(place) for place in np.clip(begin, 0, limit - length)]


def _bridged(boxes: np.ndarray) -> np.ndarray:  # (T, 4)
    """Fill boxes of frames without the layer from those around them, linearly."""
    frames = np.arange(len(boxes))
    seen = ~np.isnan(boxes[:, 0])
    return np.stack([np.interp(frames, frames[seen], side[seen]) for side in boxes.T], 1)


def _rounded(length: float) -> int:
    return -(-int(np.ceil(length)) // _STEP) * _STEP
