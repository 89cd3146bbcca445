"""What every editor of keyframes offers, and what it is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass
class Keyframe:
    """A frame to edit, and where the layer is seen in it."""

    index: int
    frame: np.ndarray
    """(H, W, 3) float32 RGB in [0, 1]."""
    opacity: np.ndarray
    """(H, W) float32 visible opacity of the layer; exactly 0 where it is not seen."""


class KeyframeEditor(Protocol):
    """Edits keyframes one after the other, in the order it is given them; it may remember the earlier ones."""

    def fingerprint(self, indices: list[int]) -> str:
        """Digest of what, beside the request, decides the result: the bytes of files, the version of a model."""
        ...

    def edit(self, keyframe: Keyframe) -> np.ndarray:
        """The edited keyframe: (H, W, 4) float32 RGBA in [0, 1], alpha = where the edit applies (not the layer's shape)."""
        ...


def cut_out(
    keyframe: Keyframe,
    edited: np.ndarray,  # (H, W, 4)
) -> np.ndarray:  # (H, W, 4)
    """The keyframe as it is saved: alpha = the layer's opacity times where the edit applies, colours not premultiplied.

    Where alpha is 0 the frame's own colours stand, so that a painter who removes the transparency sees the frame.
    """
    alpha = keyframe.opacity * edited[..., 3]
    colour = np.where(alpha[..., None] > 0, edited[..., :3], keyframe.frame)
    return np.concatenate([colour, alpha[..., None]], -1)
