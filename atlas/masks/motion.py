"""Motion segmentation: masks of what moves against the background that the camera sees, without any help.

The background's motion between two frames is one homography, found by RANSAC from dense flow, with the
frame's border counting most. A pixel speaks for the foreground where its flow differs from that homography by
several times the background's own scatter *and* can be confirmed: water, leaves and shadows differ too, but
cannot be followed over several frames. Frames a few steps apart are compared as well as neighbours, so that what moves
slowly, or pauses, is seen. The evidence is averaged along the flow, and cut out of the frames by the clip's colours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy import ndimage
from tqdm import tqdm

from atlas.clip.clip import Clip
from atlas.clip.flow import dense_flow, flow_validity
from atlas.errors import UserError
from atlas.geometry.flow import along_flow
from atlas.masks.colour_cut import Limits, along_the_flow, cut_clip
from atlas.masks.cutout import refine_mask, soften
from atlas.masks.folder import layer_names
from atlas.system.parallel import one_thread
from atlas.video.source import FrameSource, fit_image, fitted_size

_SIDE = 480
"""Pixels of the longer side that motion is searched at."""
GAPS = (1, 4, 8, 16)
"""Frames between two that are compared."""
_FOLLOWED = 4
"""The gap at which it is asked whether what moves can be followed: water and leaves cannot."""
_STILL, _MOVING = 3.0, 7.0
"""Scatters of the background's flow: a difference below the first says nothing, above the second it is certain."""
_SCATTER = 0.05
"""Pixels: flow is never trusted to better than this."""
_MEMORY = 0.9
"""How much of the evidence is handed on to the next frame along the flow."""
_LEAST = 0.002
"""Share of the frame that must move for there to be a foreground."""
_RESTLESS = 0.1
"""Share of the frame that moves and cannot be followed from which on only what can be followed counts."""
AUTO = "auto"
"""What --masks names them by."""
HELP = "point the object out with --masks box:x,y,w,h, or give a folder of masks"


@dataclass
class Measured:
    """What the comparison with another frame says of a frame."""

    gap: int
    moving: np.ndarray  # (H, W) float16 in [0, 1]
    confirmed: np.ndarray  # (H, W) bool


@dataclass(frozen=True)
class MotionMasks:
    """Mask source: what moves against the background."""

    @classmethod
    def parse(cls, text: str, source: FrameSource, indices: list[int]) -> MotionMasks | None:
        """The source that `auto` names; None for any other text."""
        return cls() if text == AUTO else None

    @property
    def layers(self) -> list[str]:
        """All that moves is one object."""
        return layer_names(1)

    def masks(self, clip: Clip, *, quiet: bool) -> Iterator[list[np.ndarray]]:
        """Find what moves in all frames at once."""
        return ([mask] for mask in masks_from_motion(clip.frame, clip.frames, quiet))

    def complete(self, clip: Clip) -> dict[str, list[int]]:
        """Nothing is missing."""
        return {}

    def remarks(self) -> list[str]:
        """Nothing had to be guessed."""
        return []

    def digest_parts(self) -> tuple[str | None, list[Path | str]]:
        """The text."""
        return AUTO, []


def masks_from_motion(frame: Callable[[int], np.ndarray], frames: int, quiet: bool = False) -> list[np.ndarray]:
    """Segment what moves against the background in all frames: (H, W) uint8 masks.

    frame: reads frame i as (H, W, 3) uint8. Raises UserError where nothing moves, or everything does.
    """
    height, width = frame(0).shape[:2]
    size = fitted_size(width, height, _SIDE)
    small = [fit_image(frame(index), size) for index in range(frames)]
    measured, forward, backward = _compare_all(small, quiet)
    scores, limits = _scores(measured, forward, backward)
    masks = _main_parts(cut_clip(small, scores, limits, forward, backward), scores)
    band = max(2, round(0.008 * max(size)))
    cutting = tqdm(small, desc="cutting out", unit="frame", disable=quiet)
    masks = [refine_mask(image, mask, band) if mask.any() else mask for image, mask in zip(cutting, masks, strict=True)]
    share = float(np.mean([mask.mean() for mask in masks]))
    if share < _LEAST:
        raise UserError(f"nothing moves against the background: {HELP}")
    if share > 0.95:
        raise UserError(f"no background was found, everything moves: {HELP}")
    return [soften(mask, (width, height)) for mask in masks]


def _compare_all(small: list[np.ndarray], quiet: bool) -> tuple[list[list[Measured]], list[np.ndarray], list[np.ndarray]]:
    """All comparisons of each frame, and the flow between neighbours both ways."""
    pairs = [(index, index + gap) for gap in GAPS for index in range(len(small) - gap)]
    measured: list[list[Measured]] = [[] for _ in small]
    forward: list[np.ndarray] = []
    backward: list[np.ndarray] = []
    with one_thread(), ThreadPoolExecutor(2) as pool:
        # In portions: results wait in memory until they are taken.
        for begin in tqdm(range(0, len(pairs), 32), desc="motion", unit="step", disable=quiet):
            portion = pairs[begin : begin + 32]
            compared = pool.map(lambda pair: compare(small[pair[0]], small[pair[1]], pair[1] - pair[0]), portion)
            for (first, second), (there, back, one, other) in zip(portion, compared, strict=True):
                if second - first == 1:
                    forward.append(there)
                    backward.append(back)
                measured[first] += [one] if one else []
                measured[second] += [other] if other else []
    return measured, forward, backward


def compare(first: np.ndarray, second: np.ndarray, gap: int) -> tuple[np.ndarray, np.ndarray, Measured | None, Measured | None]:
    """Flow both ways between two frames, and what each says of its own pixels (None where no background is found)."""
    there, back = dense_flow(first, second), dense_flow(second, first)
    return there, back, _measure(first, second, there, back, gap), _measure(second, first, back, there, gap)


def _measure(image: np.ndarray, other: np.ndarray, flow: np.ndarray, returning: np.ndarray, gap: int) -> Measured | None:
    valid = flow_validity(flow, returning, image)
    tracked = background_motion(flow, valid)
    if tracked is None:
        return None
    residual, scatter = tracked
    seen = along_flow(other, flow).astype(np.float32)
    change = np.abs(cv2.GaussianBlur(image.astype(np.float32) - seen, (0, 0), 1.5)).max(axis=-1)
    usual = 1.48 * float(np.median(change[valid]))
    confirmed = valid & (change < max(6.0, 4 * usual))
    moving = np.clip((residual / scatter - _STILL) / (_MOVING - _STILL), 0, 1)
    return Measured(gap, moving.astype(np.float16), confirmed)


def background_motion(
    flow: np.ndarray,  # (H, W, 2)
    valid: np.ndarray,  # (H, W) bool
) -> tuple[np.ndarray, float] | None:
    """Fit a homography to the background's flow by RANSAC: each pixel's residual, (H, W) pixels, and the background's scatter.

    None where there is too little to go by.
    """
    height, width = valid.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    chosen = np.zeros_like(valid)
    chosen[4::8, 4::8] = True
    # The background is what reaches the frame's border, even where a large object fills most of the middle.
    down, across = round(0.2 * height), round(0.2 * width)
    dense = np.zeros_like(valid)
    dense[2::4, 2::4] = True
    dense[down:-down, across:-across] = False
    chosen = (chosen | dense) & valid
    if np.count_nonzero(chosen) < 30:
        return None
    points = np.stack([x[chosen], y[chosen]], axis=1)
    cv2.setRNGSeed(0)
    homography, inliers = cv2.findHomography(points, points + flow[chosen], cv2.RANSAC, 1.0, maxIters=1000, confidence=0.999)
    if homography is None or inliers.mean() < 0.2:
        return None
    moved = np.stack([x, y, np.ones_like(x)], axis=-1) @ homography.T.astype(np.float32)
    expected = moved[..., :2] / moved[..., 2:] - np.stack([x, y], axis=-1)
    residual = np.hypot(*np.moveaxis(flow - expected, -1, 0))
    scatter = 1.48 * float(np.median(residual[chosen][inliers[:, 0] > 0]))
    return residual, max(_SCATTER, scatter)


def _scores(measured: list[list[Measured]], forward: list[np.ndarray], backward: list[np.ndarray]) -> tuple[np.ndarray, Limits]:
    """How clearly each pixel of each frame is a moving object, (T, H, W) in [0, 1], and how to read that."""
    shape = forward[0].shape[:2]
    moving = np.stack([certainly_moving(comparisons, shape) for comparisons in measured])
    if np.mean(moving > 0.5) < _LEAST:
        raise UserError(f"nothing moves against the background: {HELP}")
    gap = max((one.gap for comparisons in measured for one in comparisons if one.gap <= _FOLLOWED), default=1)
    parts = [_followed(comparisons, gap, shape) for comparisons in measured]
    lasting = along_the_flow(moving, forward, backward, _MEMORY)
    all_moving, followed = (along_the_flow(np.stack(part), forward, backward, _MEMORY) for part in zip(*parts, strict=True))
    trust = (followed + 0.05) / (all_moving + 0.05)  # 1 where nothing moves at this gap: nothing speaks against it
    clear = lasting > 0.5
    usual = float(np.percentile(trust[clear], 90)) if clear.any() else 1.0
    if np.mean(clear & (trust < 0.6 * usual)) > _RESTLESS:
        return lasting * np.clip((trust / usual - 0.6) / 0.3, 0, 1), Limits(0.9, 0.45, 0.25)
    weighted = np.stack(
        [part * _share_confirmed(comparisons, shape) for part, comparisons in zip(moving, measured, strict=True)]
    )
    evidence = along_the_flow(weighted, forward, backward, _MEMORY)
    clearest = float(np.percentile(evidence[evidence > 0.1], 90)) if (evidence > 0.1).any() else 1.0
    return np.clip(1.45 * evidence / clearest, 0, 1), Limits(0.85, 0.5, 0.17)


def certainly_moving(measured: list[Measured], shape: tuple[int, ...]) -> np.ndarray:
    """One frame's pixels that two comparisons (one, where there is only one) find moving: (H, W) float32 in [0, 1]."""
    if not measured:
        return np.zeros(shape, np.float32)
    moving = np.sort(np.stack([one.moving * one.confirmed for one in measured]), axis=0)
    return moving[-2 if len(measured) > 1 else -1].astype(np.float32)


def _share_confirmed(measured: list[Measured], shape: tuple[int, ...]) -> np.ndarray:
    """A weight between 1/4 and 1: what few comparisons can confirm counts for less."""
    if not measured:
        return np.zeros(shape, np.float32)
    return (0.25 + 0.75 * np.mean([one.confirmed for one in measured], axis=0)).astype(np.float32)


def _followed(measured: list[Measured], gap: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """What moves over `gap` frames, and the part of it that can be followed, in each pixel's surroundings."""
    chosen = [one for one in measured if one.gap == gap]
    if not chosen:
        return np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    moving = np.mean([one.moving for one in chosen], axis=0, dtype=np.float32)
    followed = np.mean([one.moving * one.confirmed for one in chosen], axis=0, dtype=np.float32)
    around = 0.017 * max(shape)
    return cv2.GaussianBlur(moving, (0, 0), around), cv2.GaussianBlur(followed, (0, 0), around)


def _main_parts(masks: list[np.ndarray], scores: np.ndarray) -> list[np.ndarray]:
    """Without parts that weigh little in space and time (below a fifth of the heaviest), and without small holes."""
    stack = np.stack(masks)
    parts, count = ndimage.label(stack)
    if count > 1:
        weight = np.bincount(parts.ravel(), (scores**2).ravel(), count + 1)[1:]
        stack = np.isin(parts, 1 + np.flatnonzero(weight >= 0.2 * weight.max()))
    for mask in stack:
        holes, count = ndimage.label(~mask)
        areas = np.bincount(holes.ravel(), minlength=count + 1)
        # What the object and the frame's border enclose has less of an edge to show that it is not part of it.
        least = np.full(count + 1, 0.02)
        least[np.unique(np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]]))] = 0.05
        mask[(areas < least * np.count_nonzero(mask))[holes] & ~mask] = True
    return list(stack)
