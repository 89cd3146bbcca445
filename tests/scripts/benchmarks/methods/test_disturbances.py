"""Known flicker: as strong as it says, each frame's own, the same each time, and on average none."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.benchmarks.methods.disturbances import DISTURBANCES, disturbed

FRAMES = 12
GREY = np.full((60, 96, 3), 0.5, np.float32)


def all_frames(name: str, seed: int = 0, frame: np.ndarray = GREY) -> np.ndarray:
    return np.stack([disturbed(frame, name, index, FRAMES, seed) for index in range(FRAMES)])


@pytest.mark.parametrize("name", DISTURBANCES)
def test_each_frame_has_its_own_and_the_same_each_time(name: str) -> None:
    ramp = np.linspace(0.2, 0.8, 60 * 96 * 3, dtype=np.float32).reshape(60, 96, 3)
    frames = all_frames(name, frame=ramp)
    np.testing.assert_array_equal(frames, all_frames(name, frame=ramp))
    levels = frames * 255
    assert np.abs(levels - levels.round()).max() < 1e-3, "8 bit"
    if name == "clean":
        assert np.abs(frames - ramp).max() <= 0.5 / 255 + 1e-6
        return
    assert not np.array_equal(frames[0], frames[1]) and not np.array_equal(frames, all_frames(name, 1, ramp))


def test_gains_are_those_of_the_channels() -> None:
    """A flat frame stays flat; its levels differ by 0.08 of them and 0.02 more, and sum to those of the edit."""
    frames = np.concatenate([all_frames("gain", seed) for seed in range(20)])
    assert np.ptp(frames, axis=(1, 2)).max() == 0
    levels = frames[:, 0, 0].reshape(20, FRAMES, 3)
    assert abs(levels.std() - np.hypot(0.5 * 0.08, 0.02)) < 0.004
    np.testing.assert_allclose(levels.mean(1), 0.5, atol=1 / 255)


def test_hues_turn_about_grey() -> None:
    np.testing.assert_allclose(all_frames("hue"), 0.5, atol=0.6 / 255)
    red = np.tile(np.array([0.8, 0.3, 0.3], np.float32), (8, 8, 1))
    turned = np.concatenate([all_frames("hue", seed, red) for seed in range(20)])[:, 0, 0]
    np.testing.assert_allclose(turned.mean(-1), red.mean(), atol=1.5 / 255)
    away, axis = turned - turned.mean(-1, keepdims=True), red[0, 0] - red.mean()
    cosine = (away @ axis) / (np.linalg.norm(away, axis=-1) * np.linalg.norm(axis))
    assert 9 < np.degrees(np.sqrt(np.mean(np.arccos(np.clip(cosine, -1, 1)) ** 2))) < 14


@pytest.mark.parametrize(("name", "size", "reach"), [("cloud", 0.06, 6), ("boil", 0.05, 2)])
def test_noises_are_of_their_size(name: str, size: float, reach: int) -> None:
    noise = all_frames(name) - 0.5
    assert abs(noise.std() - size) < 0.15 * size
    beside = np.corrcoef(noise[:, :, :-reach].ravel(), noise[:, :, reach:].ravel())[0, 1]
    assert 0.3 < beside < 0.85, "smooth, and not flat"
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.3


def test_wobble_moves_things() -> None:
    """A ramp shows by how much: 0.0025 of the width."""
    ramp = np.repeat(np.linspace(0, 1, 480, dtype=np.float32)[None, :, None], 40, 0).repeat(3, 2)
    moved = (all_frames("wobble", frame=ramp) - ramp)[:, :, 20:-20] * 479
    assert 0.8 < moved.std() < 1.6
    np.testing.assert_allclose(all_frames("wobble"), 0.5, atol=0.6 / 255)
