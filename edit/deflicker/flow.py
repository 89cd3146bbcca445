"""Deflickering by optical flow, a baseline: each frame averaged with its neighbours, warped along the flow of the source."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from atlas.clip.flow import dense_flow, flow_validity
from atlas.geometry.flow import along_flow
from atlas.storage.images import to_uint8
from atlas.storage.stack import FrameStack
from atlas.system.progress import Progress
from edit.deflicker.protocol import Deflicker, Guides

if TYPE_CHECKING:
    from edit.deflicker.options import DeflickerOptions


@dataclass(frozen=True)
class FlowDeflicker(Deflicker):
    """The mean of a frame and of those round about, warped to it as far as the way there and back agree.

    It blurs: what is warped is interpolated, and the flow is off by a fraction of a pixel.
    """

    meaning: ClassVar[str] = "the neighbouring frames warped along the source's optical flow, averaged: a baseline"

    window: int = 2
    """Frames before and after each that it is averaged with."""

    @classmethod
    def of(cls, options: DeflickerOptions) -> FlowDeflicker:
        """Make it from the options of the command."""
        return cls() if options.window is None else cls(options.window)

    def agree(
        self,
        frames: FrameStack,
        guides: Guides,
        result: FrameStack,
        *,
        device: torch.device | str = "cpu",
        quiet: bool = True,
    ) -> None:
        """Write the averaged frames to `result`; where the edit does not apply they are as they were. On a CPU, wherever."""
        views: list[_View] = []  # the frame whose turn it is, and those after it in the window
        for index in Progress(range(len(frames)), "agree", unit="frame", quiet=quiet):
            while len(views) <= self.window and index + len(views) < len(frames):
                views.append(_View.of(index + len(views), frames, guides))
            first, *later = views
            for other in later:
                first.join(other)
            result[index] = first.total / first.count
            views = later

    def identity(self) -> dict[str, Any]:
        """Its name, version and settings."""
        return {"name": "flow", "version": self.version} | asdict(self)


@dataclass
class _View:
    """A frame, and what was averaged into it so far."""

    frame: np.ndarray  # (H, W, 3)
    applies: np.ndarray  # (H, W, 1)
    source: np.ndarray  # (H, W, 3) uint8
    total: np.ndarray  # (H, W, 3)
    count: np.ndarray  # (H, W, 1)

    @classmethod
    def of(cls, index: int, frames: FrameStack, guides: Guides) -> _View:
        frame = frames[index]
        one = np.ones((*frame.shape[:2], 1), np.float32)
        applies = one if guides.applies is None else guides.applies(index)[..., None]
        return cls(frame, applies, to_uint8(guides.source(index)), frame.copy(), one.copy())

    def join(self, other: _View) -> None:
        """Average two frames into each other: their flow is measured once."""
        there, back = dense_flow(self.source, other.source), dense_flow(other.source, self.source)
        self._add(other, there, flow_validity(there, back))
        other._add(self, back, flow_validity(back, there))

    def _add(self, other: _View, flow: np.ndarray, valid: np.ndarray) -> None:  # (H, W, 2), (H, W)
        weight = (valid * self.applies[..., 0] * along_flow(other.applies, flow))[..., None]
        self.total += weight * along_flow(other.frame, flow)
        self.count += weight
