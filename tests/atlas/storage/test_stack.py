"""A stack of frames on the disk gives back what was written, rounded once, whatever the order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from atlas.storage.stack import FrameStack


def test_what_is_written_is_read_rounded_to_16_bit(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).random((3, 5, 7, 3)).astype(np.float32) * 1.2 - 0.1
    with FrameStack(tmp_path / "stack.bin", frames.shape) as stack:
        for index in (2, 0, 1):
            stack[index] = frames[index]
        read = np.stack(list(stack))
        assert np.abs(read - frames.clip(0, 1)).max() <= 0.5 / 65535 + 1e-7
        stack[1] = read[1]
        assert np.array_equal(stack[1], read[1])
    assert not (tmp_path / "stack.bin").exists()


def test_a_frame_that_was_never_written_is_black_and_one_past_the_end_is_none(tmp_path: Path) -> None:
    stack = FrameStack(tmp_path / "below" / "stack.bin", (2, 3, 4, 3))
    assert not stack[1].any()
    with pytest.raises(IndexError):
        stack[2]
    with pytest.raises(ValueError):
        stack[0] = np.zeros((3, 4, 1), np.float32)


def test_a_stack_is_opened_again_unless_its_size_is_another(tmp_path: Path) -> None:
    stack = FrameStack(tmp_path / "stack.bin", (2, 3, 4, 3))
    stack[1] = np.full((3, 4, 3), 0.5, np.float32)
    again = FrameStack.open(tmp_path / "stack.bin", (2, 3, 4, 3))
    assert again is not None and np.array_equal(again[1], stack[1])
    assert FrameStack.open(tmp_path / "stack.bin", (3, 3, 4, 3)) is None
    assert FrameStack.open(tmp_path / "none.bin", (2, 3, 4, 3)) is None
