"""Dense optical flow (DIS) between neighbouring frames, and where it can be trusted."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np

from atlas.storage.arrays import growing_arrays
from atlas.storage.atomic import atomic_folder
from atlas.system.parallel import one_thread
from atlas.system.progress import Progress

AGREEMENT = 1.0
"""Pixels by which the way there and back may miss its start for a flow vector to count as valid."""
WAYS = ("forward", "backward")
_FLAT = 1.0
"""Grey levels: where the local contrast is below this there is nothing to follow (8-bit rounding alone gives 0.3)."""
_CHANGE = 16.0
"""Grey levels by which a colour may differ at the other end of a flow vector; more where all of the frame does."""


def dense_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Compute optical flow (DIS): the pixel (x, y) of `first` is found at (x, y) + flow[y, x] of `second`.

    first, second: (H, W) or (H, W, 3) uint8, at least 16 pixels a side. Returns (H, W, 2) float32, pixels, x first.
    The same images give the same flow, whatever the number of cores and whatever was computed before.
    """
    grey = [
        np.ascontiguousarray(image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)) for image in (first, second)
    ]
    # A new one each time: after images of 16 pixels, one looks at finer scales and smaller patches ever after.
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    with one_thread():
        return flow.calc(grey[0], grey[1], None)


def flow_validity(
    forward: np.ndarray,  # (H, W, 2) float, first to second
    backward: np.ndarray,  # (H, W, 2) float, second to first
    first: np.ndarray | None = None,  # (H, W) or (H, W, 3) uint8
    second: np.ndarray | None = None,  # the same
) -> np.ndarray:
    """Check optical flow forward and backward: where the way back agrees to `AGREEMENT` pixels, (H, W) bool.

    Pixels that leave the frame are not. Where `first` is given, neither are pixels in untextured surroundings,
    where both ways agree on anything; with `second`, nor are those whose colour is not found where the flow leads.
    """
    height, width = forward.shape[:2]
    forward = forward.astype(np.float32, copy=False)
    x, y = cv2.split(forward)  # planes of their own: whatever skips every second value takes twice as long
    x, y = x + np.arange(width, dtype=np.float32), y + np.arange(height, dtype=np.float32)[:, None]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    backward = backward.astype(np.float32, copy=False)
    missed = cv2.add(forward, cv2.remap(backward, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    valid = inside & (np.hypot(*cv2.split(missed)) < AGREEMENT)
    if first is None:
        return valid
    valid &= textured(first)
    if second is not None:
        warped = cv2.remap(second, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        change = np.abs(cv2.GaussianBlur(first.astype(np.float32) - warped, (0, 0), 1.5))
        change = change.max(axis=-1) if change.ndim == 3 else change
        usual = 1.48 * float(np.median(change[valid])) if valid.any() else 0.0
        valid &= change < max(_CHANGE, 4 * usual)
    return valid


def textured(image: np.ndarray) -> np.ndarray:
    """Find where the surroundings (about 16 pixels) hold contrast that flow can follow: (H, W) bool of a uint8 image."""
    grey = (image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)).astype(np.float32)
    mean = cv2.GaussianBlur(grey, (0, 0), 5.0)
    variance = cv2.GaussianBlur(grey * grey, (0, 0), 5.0) - mean * mean
    return variance > _FLAT * _FLAT


Given = Callable[[int], tuple[np.ndarray, np.ndarray | None]]
"""Flow from frame i to i + 1 and back, (H, W, 2) float32 pixels, NaN where it is not known; None: to be computed."""


def write_flow(
    folder: Path, frames: int, frame: Callable[[int], np.ndarray], *, given: Given | None = None, quiet: bool = False
) -> None:
    """Write the flow of a clip into `folder`, replacing it as a whole.

    frames: their number, at least 2; frame: reads one as (H, W, 3) uint8; given: flow that was computed elsewhere.
    forward.npy, backward.npy (T-1, H, W, 2) float16 pixels; forward_valid.npy, backward_valid.npy (T-1, H, W) uint8.
    """
    height, width = frame(0).shape[:2]
    shape = (frames - 1, height, width)
    with ExitStack() as stack:
        making = stack.enter_context(atomic_folder(folder))
        flow_files = [(making / f"{way}.npy", np.float16, (*shape, 2)) for way in WAYS]
        valid_files = [(making / f"{way}_valid.npy", np.uint8, shape) for way in WAYS]
        flows = stack.enter_context(growing_arrays(*flow_files))
        valid = stack.enter_context(growing_arrays(*valid_files))
        stack.enter_context(one_thread())
        pool = stack.enter_context(ThreadPoolExecutor(2))
        previous = frame(0)
        for index in Progress(range(frames - 1), desc="flow", unit="frame", quiet=quiet):
            following = frame(index + 1)
            if given is None:
                both = list(pool.map(dense_flow, (previous, following), (following, previous)))
            else:
                known, returning = given(index)
                both = [known, dense_flow(following, previous) if returning is None else returning]
            unknown = [np.isnan(flow[..., 0]) | np.isnan(flow[..., 1]) for flow in both]  # any(axis=-1) takes 30 times as long
            # Rounded to float16 first: validity is that of the flow as it is stored.
            there, back = (_filled(flow, gaps).astype(np.float16) for flow, gaps in zip(both, unknown, strict=True))
            flows[0].append(there)
            flows[1].append(back)
            valid[0].append(flow_validity(there, back, previous, following) & ~unknown[0])
            valid[1].append(flow_validity(back, there, following, previous) & ~unknown[1])
            previous = following


def _filled(flow: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Flow (H, W, 2) with the average of what is known around where nothing is; 0 far from anything."""
    if not unknown.any():
        return flow
    known = np.where(unknown[..., None], 0, flow)
    reach = max(flow.shape) / 30
    share = cv2.GaussianBlur((~unknown).astype(np.float32), (0, 0), reach)[..., None]
    return np.where(unknown[..., None], cv2.GaussianBlur(known, (0, 0), reach) / np.maximum(share, 1e-3), flow)
