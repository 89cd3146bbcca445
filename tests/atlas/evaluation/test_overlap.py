"""The keyframe overlap measure: known differences, and the order of strategies on the tiny pipeline."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.evaluation.overlap import keyframe_overlap
from atlas.maps.maps import Maps
from atlas.storage.images import write_image


def painted(clip: Clip, keyframes: dict[int, np.ndarray], layer: str = "foreground") -> Edit:
    """An edit with these colours (3,) or pictures (H, W, 3) in [0, 1] as keyframes, under the frame's light."""
    maps, edit = Maps(clip.fit_folder("truth")), Edit.open_or_new(clip, "test", "truth")
    for index, colour in keyframes.items():
        image = np.clip(np.broadcast_to(colour, (clip.height, clip.width, 3)) * maps.light(layer, index), 0, 1)
        opacity = maps.opacity(layer, index)[..., None]
        write_image(edit.keyframe_path(layer, index), np.concatenate([image, opacity], -1).astype(np.float32))
    return edit


def test_a_known_difference(fresh_clip: Clip) -> None:
    edit = painted(fresh_clip, {0: np.array([0.4, 0.4, 0.4]), 6: np.array([0.5, 0.4, 0.4])})
    found = keyframe_overlap(fresh_clip, Maps(fresh_clip.fit_folder("truth")), edit, "foreground")
    assert found is not None and found.texels > 500
    assert found.edited == pytest.approx(0.1 / 3, abs=0.003)
    assert 0 < found.source < 0.02 and found.strategy is None


def test_keyframes_that_agree_differ_by_little(fresh_clip: Clip) -> None:
    edit = painted(fresh_clip, {index: np.array([0.3, 0.5, 0.2]) for index in (0, 6, 11)})
    found = keyframe_overlap(fresh_clip, Maps(fresh_clip.fit_folder("truth")), edit, "foreground")
    assert found is not None and found.edited < 0.003


def test_many_keyframes_measure_the_same(fresh_clip: Clip) -> None:
    edit = painted(fresh_clip, {index: np.array([0.4 + 0.1 * (index % 2), 0.4, 0.4]) for index in range(12)})
    found = keyframe_overlap(fresh_clip, Maps(fresh_clip.fit_folder("truth")), edit, "foreground")
    assert found is not None and found.edited == pytest.approx(0.1 / 3 * 6 / 11, rel=0.15)  # share of unlike pairs


def test_one_keyframe_has_nothing_to_be_compared_with(fresh_clip: Clip) -> None:
    edit = painted(fresh_clip, {0: np.array([0.3, 0.5, 0.2])})
    assert keyframe_overlap(fresh_clip, Maps(fresh_clip.fit_folder("truth")), edit, "foreground") is None
