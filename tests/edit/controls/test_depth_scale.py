"""Depth maps in one scale: known scales and shifts are taken out, whatever moves by itself, and nothing else is changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from atlas.clip.clip import Clip
from atlas.geometry.warp import sample as looked_up
from atlas.maps.maps import Maps
from atlas.storage.stack import FrameStack
from edit.controls.depth_scale import affine_fit, in_one_scale


@pytest.fixture
def maps(sample_clip: Clip) -> Maps:
    return Maps(sample_clip.fit_folder("truth"))


def true_depth(maps: Maps, frame: int) -> np.ndarray:  # (H, W) in [0.1, 0.9]
    """Depth that is painted on the layers: hills on the background, a leaning object in front of it."""
    total = np.zeros((maps.height, maps.width), np.float32)
    y, x = np.mgrid[:96, :96] / 96
    hills = 0.3 + 0.15 * np.sin(9 * x) * np.cos(7 * y + 2 * x)
    for layer, depth in (("foreground", 0.7 + 0.2 * y), ("background", hills)):
        uv = torch.from_numpy(maps.uv(layer, frame))
        total += (
            maps.opacity(layer, frame) * looked_up(torch.from_numpy(depth.astype(np.float32))[..., None], uv)[..., 0].numpy()
        )
    return total


def stack_of(path: Path, depths: list[np.ndarray]) -> FrameStack:
    stack = FrameStack(path, (len(depths), *depths[0].shape, 3))
    for index, depth in enumerate(depths):
        stack[index] = np.repeat(depth[..., None], 3, -1)
    return stack


def left_over(result: FrameStack, truth: list[np.ndarray]) -> tuple[float, float]:
    """What one scale and shift for the whole clip leaves of the difference to the truth: overall, and of the frames' means."""
    found, known = np.stack([frame[..., 0] for frame in result]), np.stack(truth)
    scale, shift = np.polyfit(found.ravel(), known.ravel(), 1)
    errors = scale * found + shift - known
    return float(errors.std()), float(errors.mean((1, 2)).std())


def as_estimated(maps: Maps, noise: float = 0.0, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """True depths, and those of an estimator that chooses scale and shift anew in each frame."""
    rng, truth = np.random.default_rng(seed), [true_depth(maps, frame) for frame in range(maps.frames)]
    scales, shifts = rng.uniform(0.6, 1.0, len(truth)), rng.uniform(0, 0.1, len(truth))
    return truth, [
        scale * depth + shift + noise * rng.normal(size=depth.shape)
        for depth, scale, shift in zip(truth, scales, shifts, strict=True)
    ]


def test_known_scales_and_shifts_are_taken_out(maps: Maps, tmp_path: Path) -> None:
    truth, estimated = as_estimated(maps)
    given, result = stack_of(tmp_path / "given", estimated), FrameStack(tmp_path / "result", (12, 64, 96, 3))
    in_one_scale(given, maps, result)
    before, after = left_over(given, truth), left_over(result, truth)
    assert before[0] > 0.05 and after[0] < 3e-4
    assert all((frame == frame[..., :1]).all() for frame in result)
    ends = [(frame.min(), frame.max()) for frame in result]
    assert min(low for low, _ in ends) == 0 and max(high for _, high in ends) == 1  # the whole range, and nothing cut off


def test_noise_neither_hides_the_scales_nor_flattens_the_depth(maps: Maps, tmp_path: Path) -> None:
    truth, estimated = as_estimated(maps, noise=0.05)
    given, result = stack_of(tmp_path / "given", estimated), FrameStack(tmp_path / "result", (12, 64, 96, 3))
    in_one_scale(given, maps, result)
    assert left_over(given, truth)[1] > 0.02 and left_over(result, truth)[1] < 0.004
    assert np.std([frame[..., 0] for frame in result]) > 0.9 * np.std([frame[..., 0] for frame in given])


def test_what_moves_by_itself_has_no_say(maps: Maps, tmp_path: Path) -> None:
    truth, estimated = as_estimated(maps)
    outlying = [depth.copy() for depth in estimated]
    for frame, depth in enumerate(outlying):
        depth[10:40, 6 * frame : 6 * frame + 24] = 1.0  # a bird before the camera, on an eighth of the picture
    given, result = stack_of(tmp_path / "given", outlying), FrameStack(tmp_path / "result", (12, 64, 96, 3))
    in_one_scale(given, maps, result)
    rest = np.stack(outlying) == np.stack(estimated)
    found, known = np.stack([frame[..., 0] for frame in result])[rest], np.stack(truth)[rest]
    scale, shift = np.polyfit(found, known, 1)
    assert (scale * found + shift - known).std() < 0.004


def test_depths_in_one_scale_stay_as_they_are(maps: Maps, tmp_path: Path) -> None:
    truth = [true_depth(maps, frame) for frame in range(maps.frames)]
    low, high = min(depth.min() for depth in truth), max(depth.max() for depth in truth)
    whole = [(depth - low) / (high - low) for depth in truth]
    given, result = stack_of(tmp_path / "given", whole), FrameStack(tmp_path / "result", (12, 64, 96, 3))
    in_one_scale(given, maps, result)
    assert max(np.abs(a - b).max() for a, b in zip(given, result, strict=True)) < 0.01


def test_flat_depths_and_single_frames(maps: Maps, tmp_path: Path) -> None:
    flat = stack_of(tmp_path / "flat", [np.full((64, 96), 0.1 + 0.05 * frame) for frame in range(12)])
    result = FrameStack(tmp_path / "result", (12, 64, 96, 3))
    in_one_scale(flat, maps, result)
    assert max(float(frame.max()) for frame in result) < 1e-3  # all the same, the lowest there is
    one = stack_of(tmp_path / "one", [np.linspace(0, 1, 64 * 96).reshape(64, 96)])
    alone = FrameStack(tmp_path / "alone", (1, 64, 96, 3))
    in_one_scale(one, maps, alone)
    assert np.abs(alone[0] - one[0]).max() < 1e-4


def test_the_fit_itself() -> None:
    rng = np.random.default_rng(0)
    values = rng.random(4000)
    targets = 1.7 * values - 0.4 + 0.01 * rng.normal(size=4000)
    targets[:1000] = rng.random(1000) * 3  # a quarter is something else
    scale, shift = affine_fit(values, targets)
    assert scale == pytest.approx(1.7, abs=0.01) and shift == pytest.approx(-0.4, abs=0.01)
    assert affine_fit(values[:30], targets[:30]) == (1.0, 0.0)
    assert affine_fit(np.full(100, 0.3), np.full(100, 0.5)) == pytest.approx((1.0, 0.2))
    upside_down = affine_fit(values, 1 - values)
    assert upside_down == pytest.approx((1.0, 0.0), abs=0.05)
