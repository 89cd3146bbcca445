"""GrabCut in a band along the edge of a rough mask, which draws it tight to the picture; and warping masks along flow."""

from __future__ import annotations

import cv2
import numpy as np

from atlas.geometry.boxes import bounding_box


def refine_mask(
    frame: np.ndarray, rough: np.ndarray, band: int, iterations: int = 2, settled: np.ndarray | None = None
) -> np.ndarray:
    """Decide the pixels within `band` of the edge of `rough` by GrabCut: by the colours on both sides.

    frame: (H, W, 3) uint8; rough, result: (H, W) bool; settled: (H, W) bool, what stays as it is in `rough`. Where there is
    nothing to decide by, the rough mask is the result.
    """
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * band + 1, 2 * band + 1))
    certain = cv2.erode(rough.astype(np.uint8), disc, borderValue=1) > 0
    possible = cv2.dilate(rough.astype(np.uint8), disc) > 0
    labels = np.where(rough, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[certain] = cv2.GC_FGD
    labels[~possible] = cv2.GC_BGD
    if settled is not None:
        labels[settled & rough], labels[settled & ~rough] = cv2.GC_FGD, cv2.GC_BGD
    # Colours near the edge tell best, and the rest costs time.
    window = bounding_box(possible, 4 * band)
    if window is None:
        return rough
    result = rough.copy()
    result[window] = cut(np.ascontiguousarray(frame[window]), labels[window], iterations, rough[window])
    return result


def cut(frame: np.ndarray, labels: np.ndarray, iterations: int, otherwise: np.ndarray) -> np.ndarray:
    """GrabCut of labels (cv2.GC_...); `otherwise` where one side is too small for a colour model. (H, W) bool."""
    inside = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    if min(np.count_nonzero(inside), np.count_nonzero(~inside)) < 50:
        return otherwise
    cv2.setRNGSeed(0)  # its k-means draws from OpenCV's own generator
    labels = labels.copy()
    cv2.grabCut(frame, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), iterations, cv2.GC_INIT_WITH_MASK)
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)


def soften(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a hard mask (H, W) bool to `size` (width, height) as uint8, with an edge about two pixels wide (feathered)."""
    grey = mask.astype(np.float32)
    if (mask.shape[1], mask.shape[0]) != size:
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_CUBIC)
    grey = cv2.GaussianBlur(grey, (0, 0), 1.0)
    return (np.clip(grey * 1.5 - 0.25, 0, 1) * 255 + 0.5).astype(np.uint8)
