"""Pairs of a frame and its edit for tuning: which frames are learned, and all edits rendered from one edited keyframe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from atlas.clip.clip import BACKGROUND
from atlas.maps.views import ViewMaps
from edit.strategies.accumulated import Accumulated

FRAMES = 30
"""Of a clip that are learned, as published."""
_LEAST = 0.01  # share of a frame that an edit must cover: less would teach next to nothing, at the price of a whole step


@dataclass(frozen=True)
class Pair:
    """A frame's edit, and where it is known."""

    frame: int
    edited: np.ndarray
    """(H, W, 3) float32 in [0, 1]; the source where nothing is known."""
    covered: np.ndarray
    """(H, W) float32 in [0, 1]: share of the pixel that the edited keyframes show."""


def training_frames(count: int, most: int = FRAMES) -> list[int]:
    """Choose `most` frames evenly over a clip of `count`, the first and the last among them; all where it has no more."""
    if most == 1:
        return [0]
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)}) if count > most else list(range(count))


class EditedViews:
    """Edited keyframes, rendered into any other frame through the atlas of each of the layers that they show."""

    def __init__(self, maps: ViewMaps, layers: Sequence[str], device: torch.device | str = "cpu") -> None:
        self.maps, self.layers = maps, layers
        self._known = {layer: Accumulated(maps, layer, device) for layer in layers}
        self._keyframes: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def add(
        self,
        frame: int,
        edited: np.ndarray,  # (H, W, 3) float32 in [0, 1], at the maps' size
        alpha: np.ndarray | None = None,  # (H, W) in [0, 1], where the edit applies, times opacity or not; None: everywhere
    ) -> None:
        """Take in an edited keyframe."""
        where = np.ones(edited.shape[:2], np.float32) if alpha is None else alpha
        self._keyframes[frame] = edited, where
        for known in self._known.values():
            known.add(frame, np.concatenate([edited, where[..., None]], -1))

    def pair(
        self,
        frame: int,
        source: np.ndarray,  # (H, W, 3) float32 in [0, 1], the unedited frame
    ) -> Pair:
        """Render the edit of a frame: its layers over each other by opacity, the source where none of them was edited.

        A keyframe is itself.
        """
        edited, covered = np.zeros_like(source), np.zeros(source.shape[:2], np.float32)
        left = np.ones(source.shape[:2], np.float32)
        for layer, known in self._known.items():
            opacity = self.maps.opacity(layer, frame)
            if frame in self._keyframes:
                colour, where = self._keyframes[frame]
                covered += np.minimum(opacity, where)
            else:
                colour, coverage = known.view(frame)
                covered += opacity * coverage
            edited += opacity[..., None] * colour
            left -= opacity
        return Pair(frame, np.clip(edited + left[..., None] * source, 0, 1), np.clip(covered, 0, 1))

    def pairs(
        self,
        frames: Sequence[int],
        source: Callable[[int], np.ndarray],  # a frame's number -> (H, W, 3) float32
    ) -> Iterator[Pair]:
        """Render the edits of frames, one by one, without those of which the keyframes show next to nothing."""
        rendered = (self.pair(frame, source(frame)) for frame in frames)
        return (pair for pair in rendered if pair.covered.mean() >= _LEAST)


def foreground(maps: ViewMaps, frame: int) -> np.ndarray:  # (H, W) float32 in [0, 1]
    """Sum the opacity of all layers of a frame but the background."""
    front = [maps.opacity(layer, frame) for layer in maps.layers if layer != BACKGROUND]
    return np.clip(sum(front, np.zeros((maps.height, maps.width), np.float32)), 0, 1)
