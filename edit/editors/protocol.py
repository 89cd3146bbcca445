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
