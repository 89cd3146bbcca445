"""The part of a frame that a model sees: the layer's box and a margin, at the model's size, and back."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

MARGIN = 30  # pixels around the layer
_SEEN = 0.02  # opacity below which a pixel does not stretch the box: five of 255 steps
_RAMP = 8  # pixels over which the edit fades out towards a side of the box that is not the frame's own
_LONGEST = 2  # times the shorter side: longer crops are seen smaller, or a thin layer would cost any amount of memory


@dataclass(frozen=True)
class Crop:
    """A box of the frame, and the size at which the model sees it."""

    top: int
    left: int
    bottom: int
    right: int
    height: int
    """Pixels that the model sees; a multiple of 64."""
    width: int

    @classmethod
    def around(
        cls,
        opacity: np.ndarray,  # (H, W) visible opacity of the layer
        size: int,  # the model's own
        margin: int = MARGIN,
    ) -> Crop | None:
        """The box where the layer is seen, `margin` pixels larger, its sides multiples of 8 where the frame has room.

        The shorter side becomes `size`, as controlnet-aux's detectors resize: both sides are rounded to multiples of 64.
        None where the layer is not seen.
        """
        rows, columns = np.flatnonzero((opacity > _SEEN).any(1)), np.flatnonzero((opacity > _SEEN).any(0))
        if not len(rows):
            return None
        top, bottom = _widened(int(rows[0]) - margin, int(rows[-1]) + 1 + margin, opacity.shape[0])
        left, right = _widened(int(columns[0]) - margin, int(columns[-1]) + 1 + margin, opacity.shape[1])
        return cls(top, left, bottom, right, *model_size(bottom - top, right - left, size))

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns of the frame."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def cut(
        self,
        image: np.ndarray,  # (H, W) or (H, W, C), uint8 or float32
    ) -> np.ndarray:  # (height, width[, C])
        """The box of a frame-sized image, at the size that the model sees."""
        return resized(image[self.box], self.height, self.width)

    def moved(
        self,
        points: np.ndarray,  # (..., 2) x and y in pixels of the frame from its upper left corner
    ) -> np.ndarray:  # (..., 2) in pixels that the model sees, from the crop's upper left corner
        """Transform points of the frame into the crop; those outside of it stay outside."""
        scale = np.array([self.width / (self.right - self.left), self.height / (self.bottom - self.top)])
        return (points - np.array([self.left, self.top])) * scale

    def paste(
        self,
        edited: np.ndarray,  # (height, width, 3) float32
        frame: np.ndarray,  # (H, W, 3) float32
    ) -> np.ndarray:  # (H, W, 4) float32
        """The frame with the edited box in it; alpha = where that applies, fading out towards the box's own sides."""
        box_height, box_width = self.bottom - self.top, self.right - self.left
        result = np.concatenate([frame, np.zeros_like(frame[..., :1])], -1)
        result[self.top : self.bottom, self.left : self.right, :3] = np.clip(resized(edited, box_height, box_width), 0, 1)
        down = _ramp(box_height, self.top > 0, self.bottom < frame.shape[0])
        across = _ramp(box_width, self.left > 0, self.right < frame.shape[1])
        result[self.top : self.bottom, self.left : self.right, 3] = down[:, None] * across[None]
        return result


def model_size(height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) that the model sees of a box: the shorter side about `size`, multiples of 64, not too long."""
    scale = size / min(height, width)
    scale = min(scale, _LONGEST * size / max(height, width))
    return tuple(max(64, round(side * scale / 64) * 64) for side in (height, width))  # type: ignore[return-value]


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resized with Lanczos where it grows and by area where it shrinks, as controlnet-aux does; floats in [0, 1] stay there."""
    if image.shape[:2] == (height, width):
        return image
    grows = height * width > image.shape[0] * image.shape[1]
    interpolation = cv2.INTER_LANCZOS4 if grows else cv2.INTER_AREA
    result = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=interpolation)
    return np.clip(result, 0, 1) if image.dtype.kind == "f" else result


def _widened(low: int, high: int, limit: int) -> tuple[int, int]:
    """The interval inside [0, limit], widened to a multiple of 8 where there is room."""
    low, high = max(low, 0), min(high, limit)
    wanted = min(-(-(high - low) // 8) * 8, limit)
    low = max(0, min(low - (wanted - (high - low)) // 2, limit - wanted))
    return low, low + wanted


def _ramp(length: int, at_start: bool, at_end: bool) -> np.ndarray:  # (length,) float32
    position = np.arange(length) + 0.5
    start = position / _RAMP if at_start else np.ones(length)
    end = position[::-1] / _RAMP if at_end else np.ones(length)
    return np.clip(np.minimum(start, end), 0, 1).astype(np.float32)
