"""What a colour change leaves of a keyframe: nothing but rounding in most places, and in others a texture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_AROUND = 7  # pixels a side over which is averaged
_ROUNDING = (1.5 / 255, 3 / 255)
"""What is left round about (root of the mean square): up to here it is rounding, and from here on all of it is texture."""
_ROUGH, _ROUGHLY = 2 / 255, 0.02  # more than rounding, and the share of pixels that it may be at where all is explained
_PATCH, _MOSTLY = 31, 0.5  # pixels a side, and the share of them that may be rough: more is a texture of some kind
_TEXTURE, _SCARCELY = 4 / 255, 1e-3  # mean of what is left, which shows a texture, and the share of pixels where it may
_DOT = 4  # pixels across: what is wider is no single pixel, however large the frame is


@dataclass(frozen=True)
class LeftOver:
    """A keyframe's frame with its colours changed, and whether anything is left that has to go through the atlas."""

    frame: np.ndarray
    """(H, W, 3) float32: of a keyframe that is explained, its very colours but for what differs by more than rounding."""
    explained: bool
    """Whether it explains the keyframe but for single pixels. Then it is as bright as the frame, and in the same place."""

    @classmethod
    def of(
        cls,
        keyframe: np.ndarray,  # (H, W, 3) float32
        recoloured: np.ndarray,  # (H, W, 3) float32, the frame with its colours changed
        weight: np.ndarray,  # (H, W): pixels count where this is above 0
        alone: np.ndarray,  # (H, W) bool: pixels that show the layer alone
    ) -> LeftOver:
        """Compare a keyframe with its recoloured frame."""
        left = (recoloured - keyframe) * (weight > 0)[..., None]
        square = cv2.transform(left * left, np.full((1, 3), 1 / 3, np.float32))
        rough = np.sqrt(np.maximum(cv2.blur(square, (_AROUND, _AROUND)), 0))
        explained = _is_explained(left, rough, weight, alone)
        if not explained:
            return cls(recoloured, False)
        low, high = _ROUNDING
        share = np.clip((rough - low) / (high - low), 0, 1)[..., None]
        return cls(np.where(share > 0, keyframe + share * (recoloured - keyframe), keyframe), True)


def _is_explained(left: np.ndarray, rough: np.ndarray, weight: np.ndarray, alone: np.ndarray) -> bool:
    """Tell whether nothing is left but rounding and single pixels, in few places and nowhere many of them side by side."""
    counts = alone & (weight > 0)
    if not counts.any():  # a layer that is blurred, or thin, shows nowhere alone
        counts = weight > 0
    most = max(int(counts.sum()), 1)
    rough_here = (rough > _ROUGH) & counts
    textured = (np.abs(cv2.blur(left, (_AROUND, _AROUND))).max(-1) > _TEXTURE) & counts
    if rough_here.sum() > _ROUGHLY * most or textured.sum() > _SCARCELY * most:
        return False
    blot = cv2.erode(textured.astype(np.uint8), np.ones((_AROUND + _DOT,) * 2, np.uint8), borderValue=1)
    return not blot.any() and cv2.blur(rough_here.astype(np.float32), (_PATCH, _PATCH)).max() <= _MOSTLY
