"""Scores of frames against a true edit: PSNR over the whole clip, warp error and sharpness over the true edit's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from atlas.clip.flow import dense_flow, flow_validity
from atlas.metrics.definitions import IDENTICAL_DB, average, laplacian_energy, ratio, warp_error
from atlas.storage.images import to_uint8


class Frames(Protocol):
    """Arrays by the number of their frame, (H, W, 3) where nothing else stands: in memory or on the disk."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Flow:
    """The source's optical flow from each frame to the next, and where it can be trusted."""

    flow: Frames
    """(H, W, 2) pixels, of each frame but the last."""
    valid: Frames
    """(H, W)"""


def flow_of(source: np.ndarray) -> Flow:  # (T, H, W, 3) floats
    """Measure the flow of frames that are no prepared clip's."""
    pairs = list(pairwise(map(to_uint8, source)))
    flow = [dense_flow(one, two) for one, two in pairs]
    back = [dense_flow(two, one) for one, two in pairs]
    return Flow(flow, [flow_validity(f, b, *pair) for f, b, pair in zip(flow, back, pairs, strict=True)])


def clip_psnr(frames: Frames, true: Frames) -> float:
    """Peak signal-to-noise ratio of a clip in dB: of the mean squared error over all of its frames.

    A mean of the frames' own dB flatters what flickers unevenly: a few good frames make up for bad ones there.
    """
    squared = [float(np.square(np.clip(frames[i], 0, 1) - true[i], dtype=np.float64).mean()) for i in range(len(true))]
    error = sum(squared) / len(squared)
    return min(-10 * math.log10(error), IDENTICAL_DB) if error else IDENTICAL_DB


def warp_ratio(frames: Frames, true: Frames, flow: Flow) -> float:
    """Warp error along the source's flow, over the true edit's own: 1 is right; above it flickers, far below it is blurred."""
    return ratio(_warp_error(frames, flow), _warp_error(true, flow))


def sharpness(frames: Frames, true: Frames) -> float:
    """Energy of the Laplacian over the true edit's own: 1 is right, below it is blurred."""
    return ratio(_mean(laplacian_energy, frames), _mean(laplacian_energy, true))


def _warp_error(frames: Frames, flow: Flow) -> float:
    pairs = pairwise(_each(frames))
    return average(warp_error(one, two, flow.flow[i], flow.valid[i]) for i, (one, two) in enumerate(pairs))


def _mean(measure: Callable[[np.ndarray], float], frames: Frames) -> float:
    return average(measure(frame) for frame in _each(frames))


def _each(frames: Frames) -> Iterable[np.ndarray]:
    return (frames[index] for index in range(len(frames)))
