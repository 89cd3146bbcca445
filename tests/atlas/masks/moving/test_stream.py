"""What goes through a clip frame by frame gives what looking at all of it at once would."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from atlas.geometry.flow import along_flow
from atlas.masks.moving.along import Averages, FlowStacks
from atlas.masks.moving.parts import MainParts
from atlas.storage.stack import RowStack

FRAMES, HEIGHT, WIDTH, MEMORY = 6, 10, 14, 0.8


def stored(path: Path, values: np.ndarray) -> RowStack:
    stack = RowStack(path, values.shape, values.dtype)
    for index, row in enumerate(values):
        stack[index] = row
    return stack


def flows(tmp_path: Path, frames: int = FRAMES) -> FlowStacks:
    """Everything moves a pixel to the right from frame to frame."""
    right = np.zeros((frames - 1, HEIGHT, WIDTH, 2), np.float16)
    right[..., 0] = 1
    return FlowStacks(stored(tmp_path / "forward", right), stored(tmp_path / "backward", -right))


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_averages_along_the_flow(channels: int, tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((FRAMES, HEIGHT, WIDTH, channels), np.float32)
    found = Averages(tmp_path / "a", values.__getitem__, values.shape, flows(tmp_path), MEMORY)
    for frame in range(FRAMES):
        total, weight = np.zeros(values.shape[1:]), 0.0
        for other in range(FRAMES):  # each fades by its distance, and lies as far to the side; borders are repeated
            moved = values[other]
            for _ in range(abs(other - frame)):
                flow = np.zeros((HEIGHT, WIDTH, 2), np.float32)
                flow[..., 0] = np.sign(other - frame)
                moved = along_flow(moved, flow).reshape(moved.shape)
            total += MEMORY ** abs(other - frame) * moved
            weight += MEMORY ** abs(other - frame)
        assert np.abs(found[frame] - total / weight).max() < 2e-3


def test_what_is_not_trusted_is_not_handed_on(tmp_path: Path) -> None:
    values = np.arange(FRAMES, dtype=np.float32)[:, None, None, None] * np.ones((1, HEIGHT, WIDTH, 1), np.float32)
    nothing = np.zeros((HEIGHT, WIDTH), np.float32)
    found = Averages(tmp_path / "a", values.__getitem__, values.shape, flows(tmp_path), MEMORY, lambda pair, forward: nothing)
    assert all((found[frame] == frame).all() for frame in range(FRAMES))


def test_parts_are_those_of_the_whole_clip(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    masks = ndimage.gaussian_filter(rng.normal(size=(9, 40, 50)), (1, 3, 3)) > 0.03
    scores = rng.random(masks.shape)
    labels, count = ndimage.label(masks)
    weights = np.bincount(labels.ravel(), (scores**2).ravel(), count + 1)[1:]
    assert 0 < np.count_nonzero(weights >= 0.2 * weights.max()) < count
    wanted = np.isin(labels, 1 + np.flatnonzero(weights >= 0.2 * weights.max()))
    parts = MainParts(len(masks), masks.__getitem__, scores.__getitem__, lambda index: np.ones(masks.shape[1:], bool))
    for index, mask in enumerate(wanted):
        assert (parts[index] >= mask).all()
        filled, _ = ndimage.label(parts[index] & ~mask)  # only holes were filled
        assert not filled.any() or np.bincount(filled.ravel())[1:].max() <= 0.05 * mask.sum() + 1
    empty = lambda index: np.zeros((4, 4), bool)  # noqa: E731
    nothing = MainParts(2, empty, empty, empty)
    assert not nothing[1].any()


def test_memory_does_not_grow_with_the_frames(tmp_path: Path) -> None:
    most, values = [], np.ones((HEIGHT, WIDTH, 4), np.float32)
    for frames in (5, 40):
        pairs = flows(tmp_path, frames)
        tracemalloc.start()
        Averages(tmp_path / "a", lambda index: values, (frames, HEIGHT, WIDTH, 4), pairs, MEMORY)
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert most[1] < 1.2 * most[0] + 2000
