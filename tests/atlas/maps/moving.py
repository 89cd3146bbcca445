"""Maps that tests of agreement look through: those of a sample, and ones in which nothing moves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from atlas.geometry.warp import pixel_grid
from atlas.sample.scene import Sample
from atlas.storage.stack import FrameStack


class StillMaps:
    """One layer that fills every frame and does not move; a texel is a pixel."""

    layers = ["background"]

    def __init__(self, frames: int, height: int, width: int, light: Sequence[float] | None = None) -> None:
        self.frames, self.height, self.width = frames, height, width
        self._light = light
        self._uv = pixel_grid(height, width).numpy()

    def uv(self, layer: str, frame: int) -> np.ndarray:
        return self._uv

    def opacity(self, layer: str, frame: int) -> np.ndarray:
        return np.ones((self.height, self.width), np.float32)

    def light(self, layer: str, frame: int) -> np.ndarray:
        return np.full((self.height, self.width, 3), self._light[frame] if self._light else 1, np.float32)

    def has_light(self, layer: str) -> bool:
        return self._light is not None

    def atlas(self, layer: str) -> np.ndarray:
        side = max(self.height, self.width)
        return np.full((side, side, 4), 0.5, np.float32)

    def atlas_size(self, layer: str) -> tuple[int, int]:
        side = max(self.height, self.width)
        return side, side


def true_edit(sample: Sample) -> np.ndarray:  # (T, H, W, 3) float32 in [0, 1]
    """The sample with every atlas recoloured and striped: what a perfect edit of all its layers looks like."""
    edited = {}
    for number, layer in enumerate(sample.layers):
        colours = sample.atlases[layer][..., :3]
        changed = colours[..., [2, 0, 1]] if number % 2 == 0 else np.sqrt(colours) * np.array([1, 0.55, 0.25], np.float32)
        stripes = (np.indices(colours.shape[:2]).sum(0) // (12 + 6 * number)) % 2
        edited[layer] = (changed * (0.65 + 0.35 * stripes[..., None])).astype(np.float32)
    return np.clip(sample.render(edited), 0, 1)


def stacked(frames: np.ndarray | Sequence[np.ndarray], path: Path) -> FrameStack:
    """Frames on the disk."""
    stack = FrameStack(path, (len(frames), *frames[0].shape))
    for index, frame in enumerate(frames):
        stack[index] = frame
    return stack


def clip_db(frames: Sequence[np.ndarray] | FrameStack, truth: np.ndarray) -> float:
    """PSNR over all frames at once: a mean of each frame's would flatter flicker."""
    return float(-10 * np.log10(np.mean([np.mean((a - b) ** 2, dtype=np.float64) for a, b in zip(frames, truth, strict=True)])))
