"""Backward warping by optical flow: an image of another frame as it looks from this one. OpenCV on arrays, without torch."""

from __future__ import annotations

import cv2
import numpy as np

from atlas.geometry.homography import pixel_positions


def flow_targets(flow: np.ndarray) -> np.ndarray:  # (H, W, 2) pixels -> (H, W, 2) float32
    """Add optical flow to the pixels that it starts from: p + flow(p), x first."""
    return pixel_positions(*flow.shape[:2]) + flow.astype(np.float32, copy=False)


def within_frame(
    targets: np.ndarray,  # (H, W, 2) float32 pixels, x first
) -> np.ndarray:  # (H, W) bool
    """Find which pixels of a frame have their targets inside a frame of the same size."""
    height, width = targets.shape[:2]
    return cv2.inRange(targets, (0, 0, 0, 0), (width - 1, height - 1, 0, 0)) > 0


def along_flow(
    image: np.ndarray,  # (H, W) or (H, W, C), of the frame that the flow leads to
    flow: np.ndarray,  # (H, W, 2) pixels
) -> np.ndarray:  # as `image`
    """Warp an image backwards along optical flow: image(p + flow(p)), bilinear; outside the image its border is repeated."""
    return at_targets(image, flow_targets(flow))


def at_targets(
    image: np.ndarray,  # (H, W) or (H, W, C)
    targets: np.ndarray,  # (h, w, 2) float32 pixels, x first
) -> np.ndarray:  # (h, w) or (h, w, C)
    """Look an image up at places between its pixels, bilinear; outside the image its border is repeated."""
    return cv2.remap(image, targets, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
