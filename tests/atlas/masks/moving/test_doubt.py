"""Frames in which a part is lost, or little decided, are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from atlas.masks.moving.along import FlowStacks
from atlas.masks.moving.doubt import doubtful, frame_ranges
from atlas.masks.moving.parts import MainParts
from tests.atlas.masks.moving.test_stream import stored

SHAPE = (9, 20, 30)


def doubts(tmp_path: Path, masks: np.ndarray, undecided: np.ndarray) -> list[int]:
    still = np.zeros((SHAPE[0] - 1, *SHAPE[1:], 2), np.float16)
    flows = FlowStacks(stored(tmp_path / "forward", still), stored(tmp_path / "backward", still))
    return doubtful(SHAPE[0], masks.__getitem__, undecided.__getitem__, flows)


def test_what_is_doubtful(tmp_path: Path) -> None:
    masks, undecided = np.zeros((2, *SHAPE), bool)
    masks[:, 5:15, 5:25] = True
    assert doubts(tmp_path, masks, undecided) == []
    masks[3, 5:15, 15:] = False  # half of it is gone, and comes back
    undecided[7, 5:15, 5:20] = True
    assert doubts(tmp_path, masks, undecided) == [3, 4, 7]
    masks[5:, 5:15, 15:] = False  # and for good
    assert doubts(tmp_path, masks, np.zeros_like(undecided)) == [3, 4, 5, 6, 7, 8]


def test_frames_in_words() -> None:
    assert frame_ranges([3, 4, 6]) == "3-4 and 6" and frame_ranges([8]) == "8"


def test_plain_holes_are_filled_and_those_that_show_the_ground_stay() -> None:
    mask, ground = np.zeros((2, 30, 40), bool)
    mask[4:26, 4:36] = True
    mask[8:20, 8:18] = mask[8:20, 22:32] = False
    ground[:, :19] = True
    parts = MainParts(1, lambda index: mask, lambda index: mask.astype(np.float32), lambda index: ground)
    assert not parts[0][8:20, 8:18].any() and parts[0][8:20, 22:32].all()
