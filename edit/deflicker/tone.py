"""Tone: contrast and sharpness as a finish, by one measure for the whole clip, so that they do not flicker themselves."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import cv2
import numpy as np
import torch

from atlas.storage.stack import FrameStack
from atlas.system.progress import Progress
from edit.deflicker.protocol import Deflicker, Guides

if TYPE_CHECKING:
    from edit.deflicker.options import DeflickerOptions

_GREY = np.array([0.299, 0.587, 0.114])  # ITU-R 601, as Pillow makes grey of colours
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13


@dataclass(frozen=True)
class Tone(Deflicker):
    """Contrast and sharpness of frames raised, as `PIL.ImageEnhance` does it, but about the mean grey of the whole clip.

    DiffSynth raises both by 1.1 in each of its agreements, about each frame's own mean: that flickers, and four times are
    1.46. Here it is done once.
    """

    meaning: ClassVar[str] = "contrast and sharpness, by one measure for the whole clip"

    contrast: float = 1.1
    """Distances from the mean grey are multiplied by it."""
    sharpness: float = 1.1
    """Distances from the smoothed frame are multiplied by it."""
    per_frame: bool = False
    """The mean grey is each frame's own, as DiffSynth released it."""

    @classmethod
    def of(cls, options: DeflickerOptions) -> Tone:
        """Make it as it is published: the command has no options for it."""
        return cls()

    def agree(
        self,
        frames: FrameStack,
        guides: Guides,
        result: FrameStack,
        *,
        device: torch.device | str = "cpu",
        quiet: bool = True,
    ) -> None:
        """Write the frames with their new tone to `result`. What the edit does not apply to has no part in the mean grey."""
        mean = None if self.per_frame else _mean_grey(frames, guides, range(len(frames)))
        for index in Progress(range(len(frames)), desc="tone", unit="frame", quiet=quiet):
            own = _mean_grey(frames, guides, range(index, index + 1)) if mean is None else mean
            result[index] = sharpened(contrasted(frames[index], own, self.contrast), self.sharpness)

    def identity(self) -> dict[str, Any]:
        """Its name, version and settings."""
        return {"name": "tone", "version": self.version} | asdict(self)


def contrasted(frame: np.ndarray, mean: float, contrast: float) -> np.ndarray:  # (H, W, 3)
    """Raise the contrast: m + contrast (x - m), clipped to [0, 1]. mean: the grey m that stays."""
    middle = np.float32(mean)
    return np.clip(middle + np.float32(contrast) * (frame - middle), 0, 1)


def sharpened(frame: np.ndarray, sharpness: float) -> np.ndarray:  # (H, W, 3)
    """Raise the sharpness: x + (sharpness - 1) (x - smooth(x)), clipped to [0, 1].

    smooth: a mean of 3x3 pixels in which the middle one counts five times; pixels of the border stay as they are.
    """
    smooth = frame.copy()
    smooth[1:-1, 1:-1] = cv2.filter2D(frame, -1, _SMOOTH)[1:-1, 1:-1]
    return np.clip(frame + np.float32(sharpness - 1) * (frame - smooth), 0, 1)


def _mean_grey(frames: FrameStack, guides: Guides, indices: range) -> float:
    total = weight = 0.0
    for index in indices:
        grey = frames[index] @ _GREY
        where = np.ones(grey.shape) if guides.applies is None else guides.applies(index).astype(np.float64)
        total, weight = total + float((grey * where).sum()), weight + float(where.sum())
    return total / weight if weight else 0.0
