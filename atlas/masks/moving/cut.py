"""Video segmentation by a convex graph cut (total variation): the foreground of all frames, from evidence for each pixel.

Evidence is averaged along the flow, so that what is foreground in most of its life is foreground throughout, and each frame
is then cut where it is outweighed by the length of the edge: edges cost little where the colour changes. What the evidence is
made of is another's: `atlas.masks.moving.by_colour`, `atlas.masks.moving.by_ground`, `atlas.masks.moving.by_appearance`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from atlas.masks.moving.along import Averages, FlowStacks
from atlas.masks.moving.plain import shows_motion
from atlas.storage.stack import RowStack
from atlas.system.parallel import in_order
from atlas.video.source import fit_image

PerFrame = Callable[[int], np.ndarray]
"""Frame -> an array of a frame's size, here (h, w)."""
_FREE = 0.05
"""The share of what an edge costs that is left across the strongest contrast."""
_STEPS = 80
"""Of each cut."""
_NEARLY = 0.5
"""Evidence below which a pixel might be either, in units of a logarithm of odds."""
_SETTLED, _FINE = 2.0, 1
"""Evidence from which on a pixel needs no closer look, in the same, and pixels from an edge within which each needs one."""
_FORBIDDEN = 6.0
"""Evidence against what cannot be foreground."""


@dataclass(frozen=True)
class HalfClip:
    """Frames, scores and flow of a clip at half the resolution; they lie on the disk."""

    images: RowStack
    """(T, H, W, 3) uint8, at the whole resolution."""
    scores: RowStack
    """(T, h, w) how clearly each pixel moves, in [0, 1]."""
    flows: FlowStacks
    scratch: Path

    @classmethod
    def of(cls, images: RowStack, scores: Callable[[int], np.ndarray], flows: FlowStacks, scratch: Path) -> HalfClip:
        """Halve frames (T, H, W, 3) uint8, scores (H, W) and flow; scratch: a folder for that."""
        frames, height, width = images.shape[:3]
        size = (max(2, width // 2), max(2, height // 2))
        shape = (frames, *size[::-1])
        score = RowStack(scratch / "half score", shape, np.float16)
        halves = [RowStack(scratch / f"half {way}", (frames - 1, *shape[1:], 2), np.float16) for way in ("forward", "backward")]
        for half, whole in zip(halves, (flows.forward, flows.backward), strict=True):
            for index in range(frames - 1):
                half[index] = cv2.resize(whole[index].astype(np.float32), size, interpolation=cv2.INTER_AREA) / 2
        for index in range(frames):
            score[index] = cv2.resize(scores(index), size, interpolation=cv2.INTER_AREA)
        return cls(images, score, FlowStacks(*halves), scratch)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.scores.shape[2], self.scores.shape[1]

    def frame(self, index: int) -> np.ndarray:
        """A frame, (h, w, 3) uint8."""
        return fit_image(self.images[index], self.size)

    def score(self, index: int) -> np.ndarray:
        """The scores of a frame, (h, w) float32."""
        return self.scores[index].astype(np.float32)

    def shows_motion(self, index: int) -> np.ndarray:
        """Where a frame has the contrast by which any motion is seen, (h, w) bool."""
        return shows_motion(self.frame(index))


@dataclass(frozen=True)
class Cut:
    """The foreground of all frames, found at half the resolution; what it is found from lies on the disk."""

    half: HalfClip
    inside: RowStack
    """(T, h, w) float16: how far each pixel is inside, in [0, 1]."""
    evidence: Averages
    """(h, w, 1) of a frame: what the cut decided from, positive for inside."""
    still: PerFrame
    """Where the scores of a frame are surely the ground's, (h, w) bool."""
    forbidden: PerFrame | None
    """Where nothing of a frame can be inside, (h, w) bool."""

    def __getitem__(self, index: int) -> np.ndarray:
        """The foreground of a frame, (H, W) bool."""
        return cv2.resize(self.inside[index].astype(np.float32), self._full) > 0.5

    def undecided(self, index: int) -> np.ndarray:
        """Where a frame's evidence is nearly even, (H, W) bool."""
        return self._whole(np.abs(self.evidence[index][..., 0]) < _NEARLY)

    def settled(self, index: int, mask: np.ndarray) -> np.ndarray:
        """Where a frame's evidence clearly agrees with a mask (H, W) bool, but for pixels along its edge: (H, W) bool."""
        evidence = cv2.resize(self.evidence[index][..., 0], self._full)
        near = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((2 * _FINE + 1,) * 2)) > 0
        agrees = np.where(mask, evidence, -evidence) > _SETTLED
        if self.forbidden:
            agrees |= self._whole(self.forbidden(index)) & ~mask
        return agrees & ~near

    def ground(self, index: int) -> np.ndarray:
        """Where motion surely says that a frame shows the ground, (H, W) bool: not where there is nothing to see motion by."""
        return self._whole(self.still(index) & self.half.shows_motion(index))

    @property
    def _full(self) -> tuple[int, int]:
        return self.half.images.shape[2], self.half.images.shape[1]

    def _whole(self, mask: np.ndarray) -> np.ndarray:  # (h, w) bool -> (H, W) bool
        return cv2.resize(mask.astype(np.uint8), self._full, interpolation=cv2.INTER_NEAREST) > 0


def cut_out(
    half: HalfClip,
    evidence: PerFrame,  # frame -> (h, w) for each pixel, positive for inside
    still: PerFrame,  # frame -> (h, w) bool: the scores are surely the ground's
    *,
    memory: float,
    edge: float,
    forbidden: PerFrame | None = None,
) -> Cut:
    """Cut out the foreground of all frames.

    memory: how much evidence is handed on to the next frame; edge: what a pixel of edge costs inside an even area; forbidden:
    frame -> (h, w) bool, where nothing can be inside.
    """
    averages = Averages(
        half.scratch / "cut", lambda i: evidence(i)[..., None], (*half.scores.shape, 1), half.flows, memory, half.flows.trust
    )

    def cut(index: int) -> np.ndarray:
        decided = averages[index][..., 0]
        if forbidden:
            decided[forbidden(index)] = -_FORBIDDEN
        return least_edge(decided, edge_costs(half.frame(index), edge))

    inside = RowStack(half.scratch / "half inside", half.scores.shape, np.float16)
    for index, row in enumerate(in_order(cut, range(len(half)))):
        inside[index] = row
    return Cut(half, inside, averages, still, forbidden)


def edge_costs(image: np.ndarray, edge: float) -> tuple[np.ndarray, np.ndarray]:
    """What an edge in (H, W, 3) uint8 costs between neighbours across, (H, W-1), and down, (H-1, W): `edge` in even areas."""
    colour = image.astype(np.float32)
    changes = [np.square(np.diff(colour, axis=axis)).sum(axis=-1) for axis in (1, 0)]
    usual = max(1e-3, float(changes[0].mean() + changes[1].mean()))
    across, down = (edge * (_FREE + (1 - _FREE) * np.exp(-change / usual)) for change in changes)
    return across, down


def least_edge(evidence: np.ndarray, costs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """How far each pixel is inside, (H, W) float32 in [0, 1], where the evidence for it less the cost of edges is greatest.

    evidence: (H, W) float32, positive for inside; costs of an edge: (H, W-1) across and (H-1, W) down. It is the
    convex form of a graph cut, solved by primal and dual steps (Chambolle and Pock 2011).
    """
    across, down = costs
    inside = (evidence > 0).astype(np.float32)
    ahead = inside.copy()
    pull_across, pull_down = np.zeros_like(across), np.zeros_like(down)
    step = np.float32(1 / np.sqrt(8))
    for _ in range(_STEPS):
        pull_across = np.clip(pull_across + step * (ahead[:, 1:] - ahead[:, :-1]), -across, across)
        pull_down = np.clip(pull_down + step * (ahead[1:] - ahead[:-1]), -down, down)
        change = evidence.copy()
        change[:, :-1] += pull_across
        change[:, 1:] -= pull_across
        change[:-1] += pull_down
        change[1:] -= pull_down
        moved = np.clip(inside + step * change, 0, 1)
        ahead = 2 * moved - inside
        inside = moved
    return inside
