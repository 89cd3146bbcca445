"""Evidence of motion: how clearly each pixel of a clip is a moving object, from comparisons averaged along the flow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from atlas.errors import UserError
from atlas.masks.moving.along import Averages, FlowStacks
from atlas.masks.moving.bodies import goes_along
from atlas.masks.moving.compare import GAPS, Measured, certainly_moving, compare
from atlas.storage.stack import RowStack
from atlas.system.parallel import in_order, one_thread
from atlas.system.progress import Progress

STEPS = (4, 1)
"""Gaps whose homographies lead to frames far away, step by step: over longer ones flow may be lost."""
_FOLLOWED = 4
"""The gap at which it is asked whether what moves can be followed: water and leaves cannot."""
_MEMORY = 0.9
"""How much of the evidence is handed on to the next frame along the flow."""
LEAST = 0.002
"""Share of the frame that must move for there to be a foreground."""
_RESTLESS = 0.1
"""Share of the frame that moves by itself and cannot be followed from which on only what can be followed counts."""
_STEPS = 4096  # of values in [0, 1], in which percentiles are found
HELP = (
    "point the object out with --masks box:x,y,w,h, give a folder of masks, or --masks none where whole frames will be edited"
)


@dataclass(frozen=True)
class Footage:
    """A clip's small frames, the flow between them, and what comparisons say of each, on the disk."""

    images: RowStack
    """(T, H, W, 3) uint8."""
    flows: FlowStacks
    motion: RowStack
    """(T, H, W, 4) float16: what certainly moves, what moves over some frames, what of that can be followed, and the first
    weighted by how often it was confirmed."""
    steps: RowStack
    """(T, 2, 2, 3, 3) the background's homographies to `STEPS` frames later, and as many earlier; 0 where none was found."""


def footage(frame: Callable[[int], np.ndarray], frames: int, size: tuple[int, int], scratch: Path, *, quiet: bool) -> Footage:
    """Compare each frame with those `GAPS` away. frame: reads a small one, (H, W, 3) uint8 of `size` (width, height)."""
    width, height = size
    made = Footage(
        RowStack(scratch / "images", (frames, height, width, 3), np.uint8),
        FlowStacks(*(RowStack(scratch / way, (frames - 1, height, width, 2), np.float16) for way in ("forward", "backward"))),
        RowStack(scratch / "motion", (frames, height, width, 4), np.float16),
        RowStack(scratch / "steps", (frames, len(STEPS), 2, 3, 3), np.float64),
    )
    for index in range(frames):
        made.images[index] = frame(index)
    measured: dict[int, list[Measured]] = defaultdict(list)
    pairs = [(index, index + gap) for index in range(frames) for gap in GAPS if index + gap < frames]
    with one_thread():
        compared = in_order(lambda pair: compare(made.images[pair[0]], made.images[pair[1]], pair[1] - pair[0]), pairs)
        done = 0
        progress = Progress(pairs, desc="motion", unit="step", quiet=quiet)
        for (first, second), (there, back, one, other) in zip(progress, compared, strict=True):
            while done < first:  # all its comparisons have been made
                made.steps[done] = _steps(measured[done])
                made.motion[done] = _motion(measured.pop(done), (height, width))
                done += 1
            if second - first == 1:
                made.flows.forward[first], made.flows.backward[first] = there, back
            measured[first] += [one] if one else []
            measured[second] += [other] if other else []
        for index in range(done, frames):
            made.steps[index] = _steps(measured[index])
            made.motion[index] = _motion(measured.pop(index), (height, width))
    return made


def _steps(measured: list[Measured]) -> np.ndarray:  # (2, 2, 3, 3)
    """The background's homographies of a frame, as `Footage.steps` has them."""
    found = {one.gap: one.homography for one in measured}
    return np.array([[found.get(way * step, np.zeros((3, 3))) for way in (1, -1)] for step in STEPS])


def _motion(measured: list[Measured], shape: tuple[int, int]) -> np.ndarray:  # (H, W, 4)
    """What the comparisons of a frame say of its pixels, as `Footage.motion` has it."""
    moving = certainly_moving(measured, shape)
    return np.dstack([moving, *_followed(measured, shape), moving * _share_confirmed(measured, shape)])


def _share_confirmed(measured: list[Measured], shape: tuple[int, ...]) -> np.ndarray:
    """A weight between 1/4 and 1: what few comparisons can confirm counts for less."""
    if not measured:
        return np.zeros(shape, np.float32)
    return (0.25 + 0.75 * np.mean([one.confirmed for one in measured], axis=0)).astype(np.float32)


def _followed(measured: list[Measured], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """What moves over some frames, and the part of it that can be followed, in each pixel's surroundings."""
    gap = max((abs(one.gap) for one in measured if abs(one.gap) <= _FOLLOWED), default=1)
    chosen = [one for one in measured if abs(one.gap) == gap]
    if not chosen:
        return np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    moving = np.mean([one.moving for one in chosen], axis=0, dtype=np.float32)
    followed = np.mean([one.moving * one.confirmed for one in chosen], axis=0, dtype=np.float32)
    around = 0.017 * max(shape)
    return cv2.GaussianBlur(moving, (0, 0), around), cv2.GaussianBlur(followed, (0, 0), around)


@dataclass(frozen=True)
class Scores:
    """How clearly each pixel of each frame is a moving object, and how to read that."""

    averages: Averages
    restless: bool
    usual: float
    """Evidence that the clearest pixels have; in a restless clip, how much of it is confirmed."""

    def __getitem__(self, index: int) -> np.ndarray:
        """The scores of a frame, (H, W) float32 in [0, 1]."""
        motion = self.averages[index]
        if self.restless:
            return motion[..., 0] * np.clip((_confirmed(motion) / self.usual - 0.6) / 0.3, 0, 1)
        return np.clip(1.45 * motion[..., 3] / self.usual, 0, 1)


def scored(clip: Footage, scratch: Path) -> Scores:
    """Average what comparisons say along the flow; UserError where nothing moves."""
    shape = clip.motion.shape
    if np.mean([np.mean(motion[..., 0] > 0.5) for motion in clip.motion]) < LEAST:
        raise UserError(f"nothing moves against the background: {HELP}")
    averages = Averages(scratch / "evidence", lambda i: clip.motion[i].astype(np.float32), shape, clip.flows, _MEMORY)
    trust, evidence, confirmed = (np.zeros(_STEPS) for _ in range(3))
    for index in range(len(clip.motion)):
        motion = averages[index]
        trust += _histogram(_trust(motion)[motion[..., 0] > 0.5])
        evidence += _histogram(motion[..., 3][motion[..., 3] > 0.1])
        confirmed += _histogram(_confirmed(motion)[motion[..., 0] > 0.8])
    usual = _percentile(trust, 0.9)
    if np.mean([_lost(clip, index, averages[index], usual) for index in range(len(clip.motion))]) > _RESTLESS:
        return Scores(averages, True, _percentile(confirmed, 0.95))
    return Scores(averages, False, _percentile(evidence, 0.9))


def _lost(clip: Footage, index: int, motion: np.ndarray, usual: float) -> float:
    """The share of a frame that moves, and can neither be followed nor goes along with what can."""
    moving, trusted = motion[..., 0] > 0.5, _trust(motion) >= 0.6 * usual
    followed, lost = moving & trusted, moving & ~trusted
    if len(clip.motion) > 1 and lost.any():
        later = index + 1 < len(clip.motion)
        flow = clip.flows.forward[index] if later else clip.flows.backward[index - 1]
        along = lost & goes_along(flow.astype(np.float64), clip.steps[index][STEPS.index(1), 0 if later else 1], followed)
        # The rest of a body is no more than what is seen of it; what carries a small thing along is a river.
        if np.count_nonzero(along) <= np.count_nonzero(followed):
            lost &= ~along
    return float(lost.mean())


def _trust(motion: np.ndarray) -> np.ndarray:
    """Share of what moves that can be followed; 1 where nothing moves over some frames: nothing speaks against it."""
    return (motion[..., 2] + 0.05) / (motion[..., 1] + 0.05)


def _confirmed(motion: np.ndarray) -> np.ndarray:
    """How much of the motion the comparisons confirm, over gaps of all lengths: reflections and water soon look different."""
    return motion[..., 3] / (motion[..., 0] + 0.05)


def _histogram(values: np.ndarray) -> np.ndarray:
    steps = np.clip((values * _STEPS).astype(np.int64), 0, _STEPS - 1)
    return np.bincount(steps, minlength=_STEPS)


def _percentile(counts: np.ndarray, share: float) -> float:
    """The value, of those counted by `_histogram`, below which there is this share; 1 where there are none."""
    if not counts.sum():
        return 1.0
    return (int(np.searchsorted(np.cumsum(counts), share * counts.sum())) + 0.5) / _STEPS
