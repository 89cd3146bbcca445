"""Video segmentation by a convex graph cut (total variation): from a score for each pixel and colour models of the whole clip.

Each pixel's evidence is its score and how much its colour is the foreground's in the *whole clip*. It is averaged
along the flow, so that what is foreground in most of its life is foreground throughout, and each frame is then
cut where the evidence is outweighed by the length of the edge: edges cost little where the colour changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy import ndimage

from atlas.clip.flow import flow_validity
from atlas.masks.moving.along import Averages, FlowStacks
from atlas.storage.stack import RowStack
from atlas.system.parallel import in_order
from atlas.video.source import fit_image

_SCORE = 2.0
"""What a certain score weighs, in units of a logarithm of odds."""
_COLOUR, _CLEAREST = 1.5, 3.0
"""What a colour's logarithm of odds weighs, and where it is clipped."""
_BINS = 24
"""Steps of each colour channel."""
_EDGE, _FREE = 5.0, 0.05
"""What a pixel of edge costs inside an even area, and the share of it that is left across the strongest contrast."""
_NEAR = 0.5
"""Background colours are learned within this distance of the foreground, in square roots of its area."""
_ROUNDS, _STEPS = 2, 80
"""How often colours and masks are found in turn, and the steps of each cut."""
_MEMORY, _UNSURE = 0.9, 0.3
"""How much evidence is handed on to the next frame, and the share of that where the flow is not confirmed."""


@dataclass
class Limits:
    """Scores that decide: surely inside, more likely inside, surely outside below."""

    inside: float
    likely: float
    outside: float


class CutClip:
    """The foreground of all frames, found at half the resolution; what it is found from lies on the disk."""

    def __init__(
        self,
        images: RowStack,  # (T, H, W, 3) uint8
        scores: Callable[[int], np.ndarray],  # frame -> (H, W) in [0, 1]
        limits: Limits,
        flows: FlowStacks,
        scratch: Path,
    ) -> None:
        frames, height, width = images.shape[:3]
        self._images, self._limits, self._scratch, self._full = images, limits, scratch, (width, height)
        self._size = (max(2, width // 2), max(2, height // 2))
        shape = (frames, *self._size[::-1])
        self._score, self._inside = (RowStack(scratch / name, shape, np.float16) for name in ("half score", "half inside"))
        self._flows = FlowStacks(
            *(RowStack(scratch / f"half {way}", (frames - 1, *shape[1:], 2), np.float16) for way in ("forward", "backward"))
        )
        for half, whole in ((self._flows.forward, flows.forward), (self._flows.backward, flows.backward)):
            for index in range(frames - 1):
                half[index] = cv2.resize(whole[index].astype(np.float32), self._size, interpolation=cv2.INTER_AREA) / 2
        for index in range(frames):
            score = cv2.resize(scores(index), self._size, interpolation=cv2.INTER_AREA)
            self._score[index] = score
            self._inside[index] = np.clip((score - limits.outside) / (limits.inside - limits.outside), 0, 1)
        for _ in range(_ROUNDS):
            self._cut()

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> np.ndarray:
        """The foreground of a frame, (H, W) bool."""
        return cv2.resize(self._inside[index].astype(np.float32), self._full) > 0.5

    def _cut(self) -> None:
        odds = self._colour_odds()
        shape = (*self._inside.shape, 1)

        def values(index: int) -> np.ndarray:
            return (self._scored(index) + _COLOUR * odds[_colour_number(self._half(index))])[..., None]

        evidence = Averages(self._scratch / "cut", values, shape, self._flows, _MEMORY, self._trust)

        def cut(index: int) -> np.ndarray:
            inside = evidence[index][..., 0]
            inside[self._impossible(index)] = -3 * _SCORE
            return least_edge(inside, _edge_costs(self._half(index)))

        for index, inside in enumerate(in_order(cut, range(len(self)))):
            self._inside[index] = inside
        evidence.delete()

    def _half(self, index: int) -> np.ndarray:  # (h, w, 3) uint8
        return fit_image(self._images[index], self._size)

    def _scored(self, index: int) -> np.ndarray:  # (h, w)
        limits = self._limits
        # Flow spreads a motion a little beyond the edge of what moves, so even odds are a little towards the certain end.
        even = limits.likely + 0.4 * (limits.inside - limits.likely)
        score = self._score[index].astype(np.float32)
        return np.interp(score, [0, limits.outside, even, limits.inside, 1], [-1.5, -1, 0, 1, 1.2]).astype(np.float32) * _SCORE

    def _impossible(self, index: int) -> np.ndarray:  # (h, w) bool
        reach = 2 * max(2, round(0.01 * max(self._size))) + 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
        return cv2.dilate((self._score[index] > self._limits.outside).astype(np.uint8), disc) == 0

    def _trust(self, pair: int, forward: bool) -> np.ndarray:  # (h, w)
        there, back = (stack[pair].astype(np.float32) for stack in (self._flows.forward, self._flows.backward))
        valid = flow_validity(there, back) if forward else flow_validity(back, there)
        return np.where(valid, 1, _UNSURE).astype(np.float32)

    def _colour_odds(self) -> np.ndarray:
        """For each colour the clipped logarithm of the odds that it is the foreground's, (_BINS^3,) float32."""
        area = float(np.mean([np.mean(inside > 0.5) for inside in self._inside])) * self._size[0] * self._size[1]
        reach = max(3, round(_NEAR * float(np.sqrt(area))))
        around = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
        counts = np.zeros((2, _BINS**3))
        for index in range(len(self)):
            inside, colours = self._inside[index].astype(np.float32), _colour_number(self._half(index)).ravel()
            near = cv2.dilate((inside > 0.5).astype(np.uint8), around)
            for side, weight in enumerate((inside**2, (1 - inside) ** 2 * near)):
                counts[side] += np.bincount(colours, weight.ravel(), _BINS**3)
        smooth = [ndimage.gaussian_filter(side.reshape(_BINS, _BINS, _BINS), 1.0) for side in counts]
        shares = [side / max(float(side.sum()), 1e-9) + 0.3 / _BINS**3 for side in smooth]
        return np.clip(np.log(shares[0] / shares[1]), -_CLEAREST, _CLEAREST).astype(np.float32).ravel()


def _colour_number(image: np.ndarray) -> np.ndarray:
    """Which of _BINS^3 colours each pixel of (H, W, 3) uint8 has: (H, W) int16. Hue is told finer than lightness."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    lab[..., 1:] = np.clip(128 + 2 * (lab[..., 1:] - 128), 0, 255)
    step = np.minimum(lab.astype(np.int16) * _BINS // 256, _BINS - 1)
    return (step[..., 0] * _BINS + step[..., 1]) * _BINS + step[..., 2]


def _edge_costs(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What an edge costs between neighbours across, (H, W-1), and down, (H-1, W)."""
    colour = image.astype(np.float32)
    changes = [np.square(np.diff(colour, axis=axis)).sum(axis=-1) for axis in (1, 0)]
    usual = max(1e-3, float(changes[0].mean() + changes[1].mean()))
    across, down = (_EDGE * (_FREE + (1 - _FREE) * np.exp(-change / usual)) for change in changes)
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
