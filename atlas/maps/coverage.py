"""Coverage: which parts of a layer's atlas each frame sees, keyframes chosen by that, and how much of a layer they reach.

Everything is weighted by how often a texel is seen over the clip, so that shares are shares of the layer's
visible pixels (opacity above one half, all frames).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from atlas.errors import UserError
from atlas.geometry.warp import sample
from atlas.maps.maps import Maps
from atlas.system.parallel import in_order

VISIBLE = 0.5
SEEN = 0.5
"""From which a texel counts as seen by a keyframe."""
_NEAR_TIE = 0.001  # gains closer than this share are equal: then spread over time decides


@dataclass
class Visibility:
    """How many visible pixels of each frame fall on each texel of a coarse atlas."""

    counts: np.ndarray
    """(T, M) uint16 over the M coarse texels that are ever seen."""

    @property
    def weights(self) -> np.ndarray:
        """(M,) visible pixels of all frames on each texel."""
        return self.counts.sum(0, dtype=np.float64)

    def share(self, frames: Sequence[int]) -> float:
        """Measure the share of the layer's visible pixels whose texel at least one of `frames` sees."""
        weights = self.weights
        return float(weights[self._seen(frames)].sum() / weights.sum())

    def best_addition(self, frames: Sequence[int]) -> tuple[int, float]:
        """Find the frame to add to `frames`, and the share of visible pixels it gains.

        Among frames whose gains are (nearly) equal, the one furthest in time from `frames`; then the lowest. One that does not
        show the layer is none, as long as others are left.
        """
        weights = self.weights
        gains = (self.counts > 0) @ np.where(self._seen(frames), 0, weights) / weights.sum()
        gains[~self.counts.any(1)] = -1
        gains[list(frames)] = -2
        candidates = np.flatnonzero(gains >= gains.max() - _NEAR_TIE)
        if frames:
            distance = np.abs(candidates[:, None] - np.asarray(frames)).min(1)
            candidates = candidates[distance == distance.max()]
        else:
            candidates = candidates[gains[candidates] == gains[candidates].max()]
        best = int(candidates[0])
        return best, float(gains[best])

    def choose(self, count: int) -> list[int]:
        """Choose frames by greedy maximum coverage: at most `count` that together see most of the layer, sorted.

        Only frames that show it are chosen, fewer than `count` where there are no more.
        """
        chosen: list[int] = []
        for _ in range(min(count, int(np.count_nonzero(self.counts.any(1))))):
            chosen.append(self.best_addition(chosen)[0])
        return sorted(chosen)

    def _seen(self, frames: Sequence[int]) -> np.ndarray:
        return np.any(self.counts[list(frames)] > 0, axis=0)


def visibility(maps: Maps, layer: str) -> Visibility:
    """Bin the layer's visible pixels of every frame into a coarse atlas; UserError where it is never visible."""
    stride = max(1, round(max(maps.height, maps.width) / 400))
    frames = list(in_order(lambda t: _visible_uv(maps, layer, t, stride), range(maps.frames)))
    if not any(len(uv) for uv in frames):
        raise UserError(f"layer {layer!r} of {maps.folder} is never visible: there is nothing of it to edit")
    size = _coarse_size(maps, layer, stride, len(frames))
    counts = np.zeros((maps.frames, size * size), np.uint16)
    for t, uv in enumerate(frames):
        texel = np.clip((uv + 1) * (size / 2), 0, size - 1).astype(np.int64)
        pixels = np.bincount(texel[:, 1] * size + texel[:, 0], minlength=size * size)
        counts[t] = np.minimum(pixels, 65535)
    return Visibility(counts[:, counts.any(0)])


def _visible_uv(maps: Maps, layer: str, frame: int, stride: int) -> np.ndarray:
    return maps.uv(layer, frame, stride)[maps.opacity(layer, frame, stride) > VISIBLE]


def _coarse_size(maps: Maps, layer: str, stride: int, frames: int) -> int:
    """Choose texels so large that a sampled pixel is about a third of one: no frame leaves gaps by chance. Returns the side."""
    middle = max(range(maps.frames), key=lambda t: (_visible_uv(maps, layer, t, 8).shape[0], -t))
    uv = maps.uv(layer, middle)[::stride, ::stride]
    visible = maps.opacity(layer, middle)[::stride, ::stride] > VISIBLE
    across = np.linalg.norm(np.diff(uv, axis=1), axis=-1)[visible[:, 1:] & visible[:, :-1]]
    down = np.linalg.norm(np.diff(uv, axis=0), axis=-1)[visible[1:] & visible[:-1]]
    steps = np.concatenate([across, down])
    if not len(steps):
        return 32
    largest = 256 if frames <= 500 else 128
    return int(np.clip(2 / (3 * max(float(np.median(steps)), 1e-6)), 16, largest))


def covered_share(
    maps: Maps,
    layer: str,
    seen: np.ndarray,  # (N, N) how well the keyframes saw each texel, [0, 1]
) -> float:
    """Measure the coverage of an edit: the share of the layer's visible pixels (all frames) whose atlas texel was seen."""
    return float(shares_of_kinds(maps, layer, (seen >= SEEN).astype(np.uint8), 2)[1])


def shares_of_kinds(
    maps: Maps,
    layer: str,
    kinds: np.ndarray,  # (N, N) uint8, below `count`
    count: int,
) -> np.ndarray:  # (count,)
    """Measure the share of the layer's visible pixels (all frames) whose texel is of each kind; 0 where none is visible."""
    pixels = maps.frames * maps.height * maps.width
    stride = max(1, round((pixels / 4e6) ** 0.5))
    image = torch.from_numpy(np.ascontiguousarray(kinds, np.float32))[..., None]
    found = np.zeros(count, np.int64)
    for uv in in_order(lambda t: _visible_uv(maps, layer, t, stride), range(maps.frames)):
        if len(uv):
            found += np.bincount(sample(image, torch.from_numpy(uv), mode="nearest")[:, 0].to(torch.int64), minlength=count)
    return found / max(found.sum(), 1)
