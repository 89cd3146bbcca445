"""Scores against a true edit: known answers."""

from __future__ import annotations

import cv2
import numpy as np

from atlas.sample.scene import Sample
from atlas.storage.images import to_float
from scripts.benchmarks.methods.scores import clip_psnr, flow_of, sharpness, warp_ratio


def test_psnr_is_of_the_whole_clip() -> None:
    """One perfect frame and one that is off by 0.1: 23 dB, where a mean of dB says 60."""
    true = np.full((2, 8, 8, 3), 0.5, np.float32)
    frames = true.copy()
    frames[1] += 0.1
    assert abs(clip_psnr(frames, true) - (20 + 10 * np.log10(2))) < 1e-4
    assert clip_psnr(true, true) == 100


def test_warp_and_sharpness_are_1_for_the_true_edit(sample: Sample) -> None:
    true = to_float(sample.frames[:4])
    flow = flow_of(true)
    assert warp_ratio(true, true, flow) == 1 and sharpness(true, true) == 1


def test_flicker_is_above_and_blur_below(sample: Sample) -> None:
    true = to_float(sample.frames[:4])
    flow = flow_of(true)
    flickering = true * np.array([0.9, 1.0, 0.85, 0.95], np.float32)[:, None, None, None]
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in true])
    assert warp_ratio(flickering, true, flow) > 1.5 and 0.7 < sharpness(flickering, true) < 1
    assert warp_ratio(blurred, true, flow) < 0.9 and sharpness(blurred, true) < 0.3
