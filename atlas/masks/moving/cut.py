"""Video segmentation by a convex graph cut (total variation): from a score of each pixel and how much it looks like the object.

Flow spreads a motion beyond the edge of what moves, so a score is believed only at some distance from where it changes; in
between appearance decides, which is learned from what is certain in the *whole clip*. Both are averaged along the flow, and
each frame is then cut where they are outweighed by the length of the edge: edges cost little where the colour changes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from atlas.clip.flow import flow_validity
from atlas.masks.moving.along import Averages, FlowStacks
from atlas.masks.moving.appearance import Appearance
from atlas.storage.stack import RowStack
from atlas.system.parallel import in_order
from atlas.video.source import fit_image

_INSIDE, _OUTSIDE = 0.8, 0.17
"""Scores that are surely the foreground's, and surely the background's below."""
_SCORE = 2.0
"""What a certain score weighs, in units of a logarithm of odds."""
_BETWEEN = 0.8
"""What it weighs near where it changes."""
_EVEN, _CLEAREST = 0.5, 3.0
"""Appearance's logarithm of odds that is even (its model learns from as much foreground as background), and where it is cut."""
_SPREAD = 0.02
"""How far flow spreads a motion, in longer sides."""
_EDGE, _FREE = 4.0, 0.05
"""What a pixel of edge costs inside an even area, and the share of it that is left across the strongest contrast."""
_NEAR, _SHARE = 0.5, 0.5
"""Half of the background that is learned lies within this distance of the foreground, in square roots of its area."""
_STEPS = 80
"""Of each cut."""
_NEARLY = 0.5
"""Odds below which a pixel might be either."""
_PLAIN = 4.0
"""Grey levels of contrast from which on a surface shows whether it moves."""
_MEMORY, _UNSURE = 0.8, 0.3
"""How much evidence is handed on to the next frame, and the share of that where the flow is not confirmed."""


class CutClip:
    """The foreground of all frames, found at half the resolution; what it is found from lies on the disk."""

    def __init__(
        self,
        images: RowStack,  # (T, H, W, 3) uint8
        scores: Callable[[int], np.ndarray],  # frame -> (H, W) in [0, 1]
        flows: FlowStacks,
        scratch: Path,
    ) -> None:
        frames, height, width = images.shape[:3]
        self._images, self._full = images, (width, height)
        self._size = (max(2, width // 2), max(2, height // 2))
        shape = (frames, *self._size[::-1])
        self._score, self._inside, odds = (
            RowStack(scratch / name, shape, np.float16) for name in ("half score", "half inside", "half odds")
        )
        self._flows = FlowStacks(
            *(RowStack(scratch / f"half {way}", (frames - 1, *shape[1:], 2), np.float16) for way in ("forward", "backward"))
        )
        for half, whole in ((self._flows.forward, flows.forward), (self._flows.backward, flows.backward)):
            for index in range(frames - 1):
                half[index] = cv2.resize(whole[index].astype(np.float32), self._size, interpolation=cv2.INTER_AREA) / 2
        area = 0.0
        for index in range(frames):
            self._score[index] = cv2.resize(scores(index), self._size, interpolation=cv2.INTER_AREA)
            area += float(np.mean(self._score[index] > 0.5)) / frames
        self._reach = max(3, round(_NEAR * float(np.sqrt(area * shape[1] * shape[2]))))
        appearance = Appearance(frames, self._half, self._certain)

        def evidence(index: int) -> np.ndarray:
            looks = appearance.odds(index, self._half(index)) - _EVEN
            return self._believed(index) + np.clip(looks, -_CLEAREST, _CLEAREST)

        for index, found in enumerate(in_order(evidence, range(frames))):
            odds[index] = found
        self._evidence = Averages(
            scratch / "cut", lambda i: odds[i].astype(np.float32)[..., None], (*shape, 1), self._flows, _MEMORY, self._trust
        )

        def cut(index: int) -> np.ndarray:
            return least_edge(self._evidence[index][..., 0], _edge_costs(self._half(index)))

        for index, inside in enumerate(in_order(cut, range(frames))):
            self._inside[index] = inside

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> np.ndarray:
        """The foreground of a frame, (H, W) bool."""
        return cv2.resize(self._inside[index].astype(np.float32), self._full) > 0.5

    def undecided(self, index: int) -> np.ndarray:
        """Where a frame's evidence is nearly even, (H, W) bool."""
        even = np.abs(self._evidence[index][..., 0]) < _NEARLY
        return cv2.resize(even.astype(np.uint8), self._full, interpolation=cv2.INTER_NEAREST) > 0

    def ground(self, index: int) -> np.ndarray:
        """Where motion surely says that a frame shows the ground, (H, W) bool: not where there is nothing to see motion by."""
        light = cv2.cvtColor(self._half(index), cv2.COLOR_RGB2GRAY).astype(np.float32)
        mean = cv2.GaussianBlur(light, (0, 0), 2.0)
        contrast = np.sqrt(np.maximum(cv2.GaussianBlur(light * light, (0, 0), 2.0) - mean * mean, 0))
        seen = (self._believed(index) < -0.8 * _SCORE) & (contrast > _PLAIN)
        return cv2.resize(seen.astype(np.uint8), self._full, interpolation=cv2.INTER_NEAREST) > 0

    def _half(self, index: int) -> np.ndarray:  # (h, w, 3) uint8
        return fit_image(self._images[index], self._size)

    def _bounds(self, index: int) -> tuple[np.ndarray, np.ndarray]:  # (h, w) twice
        """The least and the greatest score within the distance that flow spreads a motion."""
        reach = 2 * max(1, round(_SPREAD * max(self._size))) + 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
        score = self._score[index].astype(np.float32)
        return cv2.erode(score, disc, borderValue=1.0), cv2.dilate(score, disc)

    def _believed(self, index: int) -> np.ndarray:  # (h, w)
        """What the score says, positive inside: little near where it changes, which may be the flow of something beside."""
        least, greatest = self._bounds(index)
        inside = np.clip((least - 0.5) / 0.4, 0, 1)
        outside = np.clip((0.5 - greatest) / (0.5 - _OUTSIDE), 0, 1)
        between = _BETWEEN * (2 * self._score[index].astype(np.float32) - 1)
        return np.where(inside + outside > 0.25, _SCORE * (inside - outside), between)

    def _certain(self, index: int) -> tuple[np.ndarray, np.ndarray]:  # (h, w) twice
        """Weights of what is surely the foreground, and surely the background: half of that near the foreground."""
        least, greatest = self._bounds(index)
        ground = (greatest < _OUTSIDE).astype(np.float32)
        around = np.ones((2 * self._reach + 1, 2 * self._reach + 1), np.uint8)
        near = ground * cv2.dilate((self._score[index] > 0.5).astype(np.uint8), around)
        share = _SHARE * ground.sum() / max(1.0, float(near.sum()))
        return (least > _INSIDE).astype(np.float32), share * near + (1 - _SHARE) * ground

    def _trust(self, pair: int, forward: bool) -> np.ndarray:  # (h, w)
        there, back = (stack[pair].astype(np.float32) for stack in (self._flows.forward, self._flows.backward))
        valid = flow_validity(there, back) if forward else flow_validity(back, there)
        return np.where(valid, 1, _UNSURE).astype(np.float32)


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
