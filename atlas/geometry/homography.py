"""Homographies and affinities: apply them to points, fit them to correspondences."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np


@lru_cache(maxsize=4)
def pixel_positions(height: int, width: int) -> np.ndarray:
    """List the positions of all pixels, (H, W, 2) float32, x first; not to be written to."""
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    positions = np.stack(np.meshgrid(x, y), -1)
    positions.flags.writeable = False
    return positions


def apply_homography(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Move `points` (..., 2) by a 3x3 homography, as float32."""
    return _moved(matrix, points[..., 0], points[..., 1])


def move_pixels(
    matrix: np.ndarray,  # (3, 3)
    box: tuple[slice, slice],  # rows and columns, with starts and stops
) -> np.ndarray:  # (h, w, 2) float32
    """Move the pixels of a box of an image by a homography: `apply_homography` of their positions, in half its time."""
    rows, columns = (np.arange(side.start, side.stop, dtype=np.float32) for side in box)
    return _moved(matrix, columns[None], rows[:, None])  # a row and a column stand for all


def _moved(matrix: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    m = matrix.astype(np.float32)
    w = m[2, 0] * x + m[2, 1] * y + m[2, 2]
    return np.stack([(m[0, 0] * x + m[0, 1] * y + m[0, 2]) / w, (m[1, 0] * x + m[1, 1] * y + m[1, 2]) / w], -1)


def fit_affinity(
    points: np.ndarray,  # (..., 2)
    displacements: np.ndarray,  # (..., 2)
    weights: np.ndarray,  # (...)
) -> np.ndarray:  # (3, 3)
    """Fit an affinity to points + displacements by weighted least squares; a plain shift where the points span no plane."""
    weight = weights.reshape(-1, 1).astype(np.float64)
    point = points.reshape(-1, 2).astype(np.float64)
    displacement = displacements.reshape(-1, 2).astype(np.float64)
    mean_point = (point * weight).sum(0) / weight.sum()
    mean_displacement = (displacement * weight).sum(0) / weight.sum()
    centred = point - mean_point
    ridge = 4.0 * weight.sum()  # as if each point were uncertain by 2 px
    normal = centred.T @ (weight * centred) + ridge * np.eye(2)
    slope = np.linalg.solve(normal, centred.T @ (weight * (displacement - mean_displacement)))
    matrix = np.eye(3)
    matrix[:2, :2] += slope.T
    matrix[:2, 2] = mean_displacement - mean_point @ slope
    return matrix


def fit_homography(
    flow: np.ndarray,  # (H, W, 2)
    weights: np.ndarray,  # (H, W)
) -> np.ndarray:  # (3, 3)
    """Fit the homography that most of the weighted flow follows; simpler motions where the points cannot carry one."""
    height, width = weights.shape
    step = max(2, int(np.sqrt(height * width / 6000)))
    rows, columns = np.mgrid[step // 2 : height : step, step // 2 : width : step]
    keep = weights[rows, columns] > 0.5
    start = np.stack([columns[keep], rows[keep]], -1).astype(np.float32)
    end = start + flow[rows, columns][keep]
    if len(start) >= 50:
        matrix, inliers = cv2.findHomography(start, end, cv2.USAC_MAGSAC, 0.7, maxIters=2000, confidence=0.999)
        if matrix is not None and inliers.mean() > 0.3 and is_sane(matrix, height, width):
            return matrix
    if len(start) >= 10:
        matrix, _ = cv2.estimateAffinePartial2D(start, end, method=cv2.RANSAC, ransacReprojThreshold=1.0)
        if matrix is not None and is_sane(square := np.concatenate([matrix, [[0, 0, 1]]]), height, width):
            return square
    shift = np.eye(3)
    if len(start):
        shift[:2, 2] = np.median(end - start, 0)
    return shift


def is_sane(matrix: np.ndarray, height: int, width: int) -> bool:
    """Whether a step between neighbouring frames keeps the frame's corners a quadrilateral of similar size."""
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    if (matrix[2, :2] @ corners.T + matrix[2, 2] < 0.3).any():
        return False
    moved = apply_homography(matrix, corners)
    area = cv2.contourArea(moved.astype(np.float32))
    return 0.5 < area / (height * width) < 2 and bool(cv2.isContourConvex(moved.astype(np.float32)))
