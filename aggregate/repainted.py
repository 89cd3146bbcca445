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


class Claims:
    """What was repainted of an atlas and by whom: there, little is left of the weight of the other keyframes.

    However many keyframes were repainted, three numbers for each texel hold it: the strongest claim, whose it is, and the
    strongest of all others.
    """

    def __init__(self, size: tuple[int, int], device: torch.device | str = "cpu") -> None:
        self._strongest, self._next = torch.zeros(size, device=device), torch.zeros(size, device=device)
        self._whose = torch.full(size, -1, dtype=torch.int32, device=device)

    def add(
        self,
        number: int,
        repainted: Tensor,  # (H, W) in [0, 1]: where in the atlas keyframe `number` was repainted
        weight: Tensor,  # (H, W) of its partial atlas
    ) -> None:
        """Claim for keyframe `number` what was repainted of it, as far as it saw that."""
        claim = repainted * weight.clamp(max=1)
        stronger = claim > self._strongest
        self._next = torch.where(stronger, self._strongest, torch.maximum(self._next, claim))
        self._strongest = torch.where(stronger, claim, self._strongest)
        self._whose[stronger] = number

    def left_of(
        self,
        number: int,
        repainted: Tensor,  # (H, W) as above
    ) -> Tensor:  # (H, W) in [0, 1]
        """Weigh keyframe `number` by repainting: little is left where another one was repainted and this one was not."""
        claimed = torch.where(self._whose == number, self._next, self._strongest)
        return 1 - (1 - _OTHERS) * claimed * (1 - repainted)
