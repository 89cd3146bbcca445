"""Masks without any help: what moves against the background that the camera sees.

The background's motion between two frames is one homography, found by RANSAC from dense flow, with the
frame's border counting most. A pixel speaks for the foreground where its flow differs from that homography by
several times the background's own scatter *and* can be confirmed: water, leaves and shadows differ too, but
cannot be followed over several frames. Frames a few steps apart are compared as well as neighbours, so that what moves
slowly, or pauses, is seen. The evidence is averaged along the flow, cut out of the frames by colour, and
cleaned over time.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage
from tqdm import tqdm

from atlas.cutout import carried, cut, refine_mask, soften
from atlas.errors import UserError
from atlas.flow import dense_flow, flow_validity, one_thread
from atlas.frames import fit_image, fitted_size

_SIDE = 480
"""Pixels of the longer side that motion is searched at."""
_GAPS = (1, 4, 8)
"""Frames between two that are compared."""
_STILL, _MOVING = 3.0, 7.0
"""Scatters of the background's flow: a difference below the first says nothing, above the second it is certain."""
_SCATTER = 0.05
"""Pixels: flow is never trusted to better than this."""
_MEMORY = 0.75
"""How much of the evidence is handed on to the next frame along the flow."""
_LEAST = 0.002
"""Share of the frame that must move for there to be a foreground."""
HELP = "point the object out with --masks box:x,y,w,h, or give a folder of masks"


@dataclass
class Measured:
    """What one frame says of another one."""

    moving: np.ndarray  # (H, W) float32 in [0, 1]
    confirmed: np.ndarray  # (H, W) bool


def masks_from_motion(frame: Callable[[int], np.ndarray], frames: int, quiet: bool = False) -> list[np.ndarray]:
    """Find what moves against the background in all frames: (H, W) uint8 masks.

    frame: reads frame i as (H, W, 3) uint8. Raises UserError where nothing moves, or everything does.
    """
    height, width = frame(0).shape[:2]
    size = fitted_size(width, height, _SIDE)
    small = [fit_image(frame(index), size) for index in range(frames)]
    evidence, forward, backward = _all_evidence(small, quiet)
    evidence = _along_the_flow(evidence, forward, backward)
    scores = _relative(evidence)
    masks = [
        _cut_out(image, score)
        for image, score in zip(tqdm(small, desc="cutting out", unit="frame", disable=quiet), scores, strict=True)
    ]
    masks = _over_time(masks, forward, backward)
    masks = _largest(masks)
    band = max(2, round(0.006 * max(size)))
    masks = [refine_mask(image, mask, band) if mask.any() else mask for image, mask in zip(small, masks, strict=True)]
    share = float(np.mean([mask.mean() for mask in masks]))
    if share < _LEAST:
        raise UserError(f"nothing moves against the background: {HELP}")
    if share > 0.95:
        raise UserError(f"no background was found, everything moves: {HELP}")
    return [soften(mask, (width, height)) for mask in masks]


def _all_evidence(small: list[np.ndarray], quiet: bool) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Evidence of each frame (T, H, W) float32 in [0, 1], and the flow between neighbours both ways."""
    frames = len(small)
    height, width = small[0].shape[:2]
    pairs = [(index, index + gap) for gap in _GAPS for index in range(frames - gap)]
    measured: list[list[Measured]] = [[] for _ in small]
    forward: list[np.ndarray] = []
    backward: list[np.ndarray] = []
    with one_thread(), ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda pair: compare(small[pair[0]], small[pair[1]]), pairs)
        for (first, second), (there, back, one, other) in zip(
            pairs, tqdm(found, total=len(pairs), desc="motion", unit="pair", disable=quiet), strict=True
        ):
            if second - first == 1:
                forward.append(there)
                backward.append(back)
            measured[first] += [one] if one else []
            measured[second] += [other] if other else []
    evidence = np.zeros((frames, height, width), np.float32)
    for index, found_here in enumerate(measured):
        if found_here:
            evidence[index] = combine(found_here)
    return evidence, forward, backward


def compare(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, Measured | None, Measured | None]:
    """Flow both ways between two frames, and what each says of its own pixels (None where no background is found)."""
    there, back = dense_flow(first, second), dense_flow(second, first)
    return there, back, _measure(first, second, there, back), _measure(second, first, back, there)


def _measure(image: np.ndarray, other: np.ndarray, flow: np.ndarray, returning: np.ndarray) -> Measured | None:
    valid = flow_validity(flow, returning, image)
    tracked = background_motion(flow, valid)
    if tracked is None:
        return None
    residual, scatter = tracked
    seen = _seen_through(other, flow)
    change = np.abs(cv2.GaussianBlur(image.astype(np.float32) - seen, (0, 0), 1.5)).max(axis=-1)
    usual = 1.48 * float(np.median(change[valid]))
    confirmed = valid & (change < max(6.0, 4 * usual))
    moving = np.clip((residual / scatter - _STILL) / (_MOVING - _STILL), 0, 1)
    return Measured(moving.astype(np.float32), confirmed)


def background_motion(
    flow: np.ndarray,  # (H, W, 2)
    valid: np.ndarray,  # (H, W) bool
) -> tuple[np.ndarray, float] | None:
    """How far each pixel's flow is from the background's homography, (H, W) pixels, and the background's own scatter.

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


def _seen_through(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """`image` at the places that `flow` leads to: (H, W, 3) float32."""
    height, width = flow.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.remap(image, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(
        np.float32
    )


def combine(measured: list[Measured]) -> np.ndarray:
    """One frame's evidence from all comparisons: (H, W) float32 in [0, 1].

    Two comparisons must agree that a pixel moves (one, where there is only one); a pixel that few of them
    can confirm counts for less.
    """
    moving = np.sort(np.stack([one.moving * one.confirmed for one in measured]), axis=0)
    certain = moving[-2] if len(measured) > 1 else moving[-1]
    followed = np.mean([one.confirmed for one in measured], axis=0)
    return (certain * (0.25 + 0.75 * followed)).astype(np.float32)


def _along_the_flow(evidence: np.ndarray, forward: list[np.ndarray], backward: list[np.ndarray]) -> np.ndarray:
    """Evidence averaged over the frames before and after, along the flow, with fading memory."""
    frames = len(evidence)
    weight = [np.ones_like(evidence[0]) for _ in range(frames)]
    total = [each.copy() for each in evidence]
    for order, flows in ((range(1, frames), backward), (range(frames - 2, -1, -1), forward)):
        step = order.step
        memory, known = evidence[order.start - step], np.ones_like(evidence[0])
        for index in order:
            flow = flows[index - 1] if step > 0 else flows[index]
            memory, known = _MEMORY * carried(memory, flow), _MEMORY * carried(known, flow)
            total[index] += memory
            weight[index] += known
            memory, known = memory + evidence[index], known + 1
    return np.stack([a / b for a, b in zip(total, weight, strict=True)])


def _relative(evidence: np.ndarray) -> np.ndarray:
    """Evidence in units of what the clip's clearest movers have, clamped to [0, 1]."""
    moving = evidence[evidence > 0.1]
    if moving.size < _LEAST * evidence.size:
        raise UserError(f"nothing moves against the background: {HELP}")
    return np.clip(evidence / np.percentile(moving, 90), 0, 1)


def _cut_out(image: np.ndarray, score: np.ndarray) -> np.ndarray:
    """One frame's mask, by GrabCut from the clear cases: (H, W) bool."""
    reach = max(3, round(0.012 * max(score.shape)))  # flow spreads a motion about this far beyond its edge
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    rough = score > 0.5
    labels = np.where(rough, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[cv2.erode((score > 0.6).astype(np.uint8), disc, borderValue=1) > 0] = cv2.GC_FGD
    labels[cv2.dilate((score > 0.25).astype(np.uint8), disc) == 0] = cv2.GC_BGD
    return cut(image, labels, 3, rough)


def _over_time(masks: list[np.ndarray], forward: list[np.ndarray], backward: list[np.ndarray]) -> list[np.ndarray]:
    """Each mask as the majority of itself and its neighbours, two frames either way, carried along the flow."""
    votes = [2.0 * mask.astype(np.float32) for mask in masks]
    weight = [2.0] * len(masks)
    for step, flows in ((1, backward), (-1, forward)):
        near = [mask.astype(np.float32) for mask in masks]
        for share in (1.0, 1.0):
            moved = list(near)
            for index in range(len(masks)):
                if 0 <= index - step < len(masks):
                    moved[index] = carried(near[index - step], flows[index - 1] if step > 0 else flows[index])
                    votes[index] += share * moved[index]
                    weight[index] += share
            near = moved
    return [vote / total > 0.5 for vote, total in zip(votes, weight, strict=True)]


def _largest(masks: list[np.ndarray]) -> list[np.ndarray]:
    """Without what is small in space and time: parts below a sixth of the largest, and holes that small within a frame."""
    stack = np.stack(masks)
    parts, count = ndimage.label(stack)
    if count > 1:
        volume = np.bincount(parts.ravel())[1:]
        stack = np.isin(parts, 1 + np.flatnonzero(volume >= volume.max() / 6))
    for mask in stack:
        holes, count = ndimage.label(~mask)
        areas = np.bincount(holes.ravel(), minlength=count + 1)
        mask[(areas[holes] < 0.02 * np.count_nonzero(mask)) & ~mask] = True
    return list(stack)
