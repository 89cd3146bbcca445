"""Deflickering by flow: means that are known, and a plain reference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from atlas.clip.flow import dense_flow, flow_validity
from atlas.storage.stack import FrameStack
from edit.deflicker.flow import FlowDeflicker
from edit.deflicker.options import DeflickerOptions
from edit.deflicker.protocol import Guides

Deflickered = Callable[..., np.ndarray]


@pytest.fixture
def texture() -> np.ndarray:
    """(60, 90, 3) float32 with detail that flow can follow."""
    noise = np.random.default_rng(0).random((60, 90, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return (smooth - smooth.min()) / (smooth.max() - smooth.min())


@pytest.fixture
def deflickered(tmp_path: Path) -> Deflickered:
    def run(frames: np.ndarray, guides: Guides, window: int = 2) -> np.ndarray:
        given, result = FrameStack(tmp_path / "given", frames.shape), FrameStack(tmp_path / "result", frames.shape)
        for index, frame in enumerate(frames):
            given[index] = frame
        FlowDeflicker(window).agree(given, guides, result)
        return np.stack(list(result))

    return run


def _levels(texture: np.ndarray, *levels: float) -> np.ndarray:
    return np.stack([np.full_like(texture, level) for level in levels])


@pytest.mark.parametrize("window", [1, 2, 9])
def test_where_nothing_moves_it_is_the_mean_of_the_window(texture: np.ndarray, deflickered: Deflickered, window: int) -> None:
    levels = [0.1, 0.7, 0.3, 0.9, 0.5]
    result = deflickered(_levels(texture, *levels), Guides(lambda index: texture), window)
    for index in range(5):
        expected = np.mean(levels[max(index - window, 0) : index + window + 1])
        assert np.allclose(result[index, 8:-8, 8:-8], expected, atol=1e-3)


def test_what_moves_is_averaged_along_the_flow(texture: np.ndarray, deflickered: Deflickered) -> None:
    def moved(by: int) -> np.ndarray:
        return np.roll(texture, by, axis=1)

    frames = np.stack([np.clip(moved(3 * i) * level, 0, 1) for i, level in enumerate((0.9, 0.6, 0.9))])
    result = deflickered(frames, Guides(lambda index: moved(3 * index)), 1)
    expected = moved(3) * 0.8
    inside = (slice(8, -8), slice(20, -20))
    assert np.abs(result[1][inside] - expected[inside]).mean() < 0.01


def test_it_does_what_a_plain_loop_does(texture: np.ndarray, deflickered: Deflickered) -> None:
    source = [np.roll(texture, (i, 2 * i), axis=(0, 1)) for i in range(4)]
    source[2] = source[2][::-1].copy()  # whose flow is not valid anywhere
    frames = np.random.default_rng(1).random((4, 60, 90, 3)).astype(np.float32)
    frames = (frames * 65535 + 0.5).astype(np.uint16).astype(np.float32) / 65535
    grey = [(np.clip(one, 0, 1) * 255 + 0.5).astype(np.uint8) for one in source]
    y, x = np.mgrid[:60, :90].astype(np.float32)
    for i in range(4):
        total, count = frames[i].astype(np.float64), np.ones((60, 90, 1))
        for j in (i - 2, i - 1, i + 1, i + 2):
            if 0 <= j < 4:
                there, back = dense_flow(grey[i], grey[j]), dense_flow(grey[j], grey[i])
                valid = flow_validity(there, back)[..., None]
                place = x + there[..., 0], y + there[..., 1]
                total += valid * cv2.remap(frames[j], *place, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
                count += valid
        assert np.allclose(deflickered(frames, Guides(source.__getitem__))[i], total / count, atol=2e-5)


def test_where_an_edit_does_not_apply_it_has_no_say(texture: np.ndarray, deflickered: Deflickered) -> None:
    applies = np.ones((3, 60, 90), np.float32)
    applies[1, :, 45:] = 0
    frames = _levels(texture, 0.2, 0.8, 0.2)
    result = deflickered(frames, Guides(lambda index: texture, applies=applies.__getitem__), 1)
    assert np.allclose(result[1, :, 45:], 0.8, atol=1e-4)
    assert np.allclose(result[0, 8:-8, 55:-8], 0.2, atol=1e-4)
    assert np.allclose(result[0, 8:-8, 8:35], 0.5, atol=1e-3)


def test_it_is_made_from_the_commands_options() -> None:
    options = DeflickerOptions(clip=Path("clip"), edit="oil", way="flow")
    assert options.chosen() == FlowDeflicker(2)
    options.window = 5
    assert options.chosen() == FlowDeflicker(5)
    assert FlowDeflicker(5).identity() != FlowDeflicker(2).identity()
