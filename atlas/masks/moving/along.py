"""Averages along the flow, over the frames before and after, with two frames in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.clip.flow import flow_validity
from atlas.geometry.flow import along_flow
from atlas.storage.stack import RowStack

_UNCONFIRMED = 0.3
"""How far flow is trusted where the way back does not confirm it."""

Trust = Callable[[int, bool], np.ndarray]
"""(pair of frames i and i + 1, whether its flow leads forward) -> (H, W) how far it is trusted."""


@dataclass(frozen=True)
class FlowStacks:
    """The flow between neighbours of a clip, on the disk."""

    forward: RowStack
    """(T - 1, H, W, 2) pixels, from the earlier frame to the later."""
    backward: RowStack
    """The same from the later frame to the earlier."""

    def trust(self, pair: int, forward: bool) -> np.ndarray:
        """How far the flow between frames `pair` and `pair` + 1 is trusted, (H, W) float32: a `Trust`."""
        there, back = (stack[pair].astype(np.float32) for stack in (self.forward, self.backward))
        valid = flow_validity(there, back) if forward else flow_validity(back, there)
        return np.where(valid, 1, _UNCONFIRMED).astype(np.float32)


class Averages:
    """Values of T frames, averaged over the frames before and after along the flow; memory of them fades frame by frame."""

    def __init__(
        self,
        path: Path,  # of a file for them, which is replaced
        values: Callable[[int], np.ndarray],  # frame -> (H, W, C) float32; asked for twice
        shape: tuple[int, ...],  # (T, H, W, C), C at most 4
        flows: FlowStacks,
        memory: float,
        trust: Trust | None = None,
    ) -> None:
        frames, height, width, channels = shape
        self._stack = RowStack(path, (frames, height, width, channels + 1), np.float16)
        for forward in (False, True):  # what earlier frames say reaches a frame by the flow that leads back to them
            order = range(frames - 1, -1, -1) if forward else range(frames)
            held, known = np.zeros(shape[1:], np.float32), np.zeros(shape[1:3], np.float32)
            for place, index in enumerate(order):
                if place:
                    pair = index if forward else index - 1
                    flow = (flows.forward if forward else flows.backward)[pair].astype(np.float32)
                    fade = memory * trust(pair, forward) if trust else np.full(known.shape, memory, np.float32)
                    held, known = fade[..., None] * _warped(held, flow), fade * along_flow(known, flow)
                current = values(index)
                if forward:
                    self._stack[index] = self._stack[index].astype(np.float32) + np.dstack([held, known])
                else:
                    self._stack[index] = np.dstack([current + held, 1 + known])
                held, known = held + current, known + 1

    def __getitem__(self, index: int) -> np.ndarray:
        """The averages of a frame, (H, W, C) float32."""
        total = self._stack[index].astype(np.float32)
        return total[..., :-1] / total[..., -1:]

    def delete(self) -> None:
        """Delete the file."""
        self._stack.path.unlink(missing_ok=True)


def _warped(image: np.ndarray, flow: np.ndarray) -> np.ndarray:  # (H, W, C)
    return along_flow(image, flow).reshape(image.shape)  # OpenCV drops a single channel
