"""A person's key points and OpenPose's files of them, for the tests of poses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

# Nose, neck, right arm, left arm, right leg, left leg, eyes, ears: about 100 pixels high, the neck at 0, 0.
BODY = np.array([[0, -14], [0, 0], [-12, 1], [-18, 20], [-20, 38], [12, 0], [19, 18], [24, 36], [-8, 38], [-9, 62], [-10, 84],
                 [8, 38], [10, 62], [12, 84], [-3, -17], [3, -17], [-7, -15], [7, -15]], float)  # fmt: skip
# Where BODY_25 has the points of BODY_18; the middle of the hips (8) and the feet (19 to 24) have no place there.
TO_25 = [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]


def numbers(points: np.ndarray, confidence: float = 0.9) -> list[float]:
    """Key points as OpenPose writes them; those that are NaN as zeros."""
    rows = [[x, y, confidence] if np.isfinite(x) else [0.0, 0.0, 0.0] for x, y in points]
    return [float(value) for row in rows for value in row]


def write_pose(path: Path, *people: np.ndarray, **more: Any) -> Path:
    """Write a frame's people as one of OpenPose's files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"people": [{"pose_keypoints_2d": numbers(points)} for points in people], **more}))
    return path
