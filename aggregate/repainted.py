"""Keyframes that somebody repainted: what was changed there is meant for every frame, not to be outvoted by the others."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

_LEVELS = 3  # of 255: smaller differences come of saving a file again
_AROUND = 2  # pixels: paint has soft edges
_OTHERS = 0.002  # of its weight is left to a keyframe where another one was repainted


def repainted_pixels(
    keyframe: np.ndarray,  # (H, W, 4) uint8 or uint16
    made: np.ndarray,  # (H, W, 4), as the edit stage wrote it
) -> np.ndarray:  # (H, W) float32, 0 or 1
    """Detect where a keyframe was repainted: it is no longer what was made, within the layer."""
    if made.shape != keyframe.shape:
        return np.zeros(keyframe.shape[:2], np.float32)
    now, then = (image.astype(np.float32) * (255 / np.iinfo(image.dtype).max) for image in (keyframe, made))
    # A painter who flattens the image makes it opaque, and may leave any colour where nothing is to be seen.
    changed = (np.abs(now - then)[..., :3] > _LEVELS).any(-1) & (then[..., 3] > 0)
    erased = now[..., 3] < then[..., 3] - _LEVELS
    return cv2.dilate((changed | erased).astype(np.uint8), np.ones((2 * _AROUND + 1,) * 2)).astype(np.float32)


def unclaimed(
    repainted: Tensor,  # (K, H, W) in [0, 1]: where in the atlas each keyframe was repainted
    weights: Tensor,  # (K, H, W) of the partial atlases
) -> Tensor:  # (K, H, W) in [0, 1]
    """Weigh keyframes by repainting: little is left of a weight where another keyframe was repainted and this one was not."""
    claims = repainted * weights.clamp(max=1)
    shares = []
    for number, own in enumerate(repainted):
        others = torch.cat([claims[:number], claims[number + 1 :]])
        claimed = others.amax(0) if len(others) else torch.zeros_like(own)
        shares.append(1 - (1 - _OTHERS) * claimed * (1 - own))
    return torch.stack(shares)
