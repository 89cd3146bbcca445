"""Masks that are missing: filled in where the flow leads to the object, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.masks.gaps import LONGEST, bridgeable, fill_gaps
from atlas.metrics.definitions import iou
from atlas.storage.images import write_image


@pytest.mark.parametrize(
    ("missing", "possible"),
    [
        ([False, True] * 5, True),  # every second one, the last among them
        ([False, True, True] * 4, True),
        ([False, False, True], True),
        ([False, False, True, True], False),  # a folder that is too short
        ([True, True, False, False], False),
        ([False] + [True] * LONGEST + [False], True),
        ([False] + [True] * (LONGEST + 1) + [False], False),
        ([True] * 3, False),
    ],
)
def test_what_can_be_bridged(missing: list[bool], possible: bool) -> None:
    assert bridgeable(missing) is possible


def blank(clip: Clip, layer: str, frames: list[int]) -> dict[int, np.ndarray]:
    """Empty masks in `frames`; what was there."""
    true = {index: clip.mask(layer, index) for index in frames}
    for index in frames:
        write_image(clip.mask_path(layer, index), np.zeros_like(true[index]))
    return true


def test_every_second_mask(fresh_clip: Clip) -> None:
    true = blank(fresh_clip, "foreground", list(range(1, 12, 2)))
    before = fresh_clip.mask("foreground", 4)
    assert fill_gaps(fresh_clip, "foreground", list(true)) == list(true)
    scores = [iou(fresh_clip.mask("foreground", index), mask) for index, mask in true.items()]
    assert min(scores[:-1]) > 0.92
    assert scores[-1] > 0.85  # the last frame has a neighbour on one side only
    np.testing.assert_array_equal(fresh_clip.mask("foreground", 4), before)


def test_a_mask_that_was_left_empty(fresh_clip: Clip) -> None:
    true = blank(fresh_clip, "foreground", [5])
    assert fill_gaps(fresh_clip, "foreground", []) == [5]
    assert iou(fresh_clip.mask("foreground", 5), true[5]) > 0.93


def test_an_object_that_is_hidden_stays_hidden(fresh_clip: Clip) -> None:
    blank(fresh_clip, "foreground", [5, 6])
    for way in ("forward", "backward"):  # what hides it: no flow leads there and back
        path = fresh_clip.folder / "flow" / f"{way}_valid.npy"
        valid = np.load(path)
        valid[4:7] = 0
        np.save(path, valid)
    assert fill_gaps(fresh_clip, "foreground", []) == []
    assert not fresh_clip.mask("foreground", 5).any()


def test_an_object_that_has_left_is_not_brought_back(fresh_clip: Clip) -> None:
    blank(fresh_clip, "foreground", [0, 1, 10, 11])
    assert fill_gaps(fresh_clip, "foreground", []) == []
