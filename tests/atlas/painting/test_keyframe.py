"""Repainting a keyframe: only what is painted changes, and the rest stays to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.painting.keyframe import PaintedKeyframe
from atlas.storage.images import read_image
from edit.editors import EditOptions
from edit.stage import edit


@pytest.fixture
def opened(fresh_clip: Clip) -> tuple[Edit, PaintedKeyframe]:
    options = {"fit": "truth", "editor": "filter", "filter": "invert", "keyframes": "4,8", "quiet": True}
    made = edit(EditOptions(clip=fresh_clip.folder, name="inverted", layer="foreground", **options)).edit
    return made, PaintedKeyframe.open(fresh_clip, made, "foreground", 4)


def test_only_what_is_painted_changes(opened: tuple[Edit, PaintedKeyframe]) -> None:
    made, painted = opened
    path = made.keyframe_path("foreground", 4)
    before = read_image(path, mode="rgba")
    painted.put(20, 30, np.full((10, 12, 4), (10, 200, 30, 255), np.uint8))
    y, x = next(place for place in np.argwhere(before[..., 3] == 255) if not (18 < place[0] < 30))
    painted.put(int(y), int(x), np.full((1, 1, 4), (255, 255, 255, 51), np.uint8))
    shown = painted.frame(4)
    painted.save(path)
    after = read_image(path, mode="rgba")
    assert (after[20:30, 30:42] == (10, 200, 30, 255)).all() and (shown[20:30, 30:42] == (10, 200, 30)).all()
    np.testing.assert_allclose(after[y, x, :3], 0.8 * before[y, x, :3] + 0.2 * 255, atol=1)  # a fifth of white over it
    touched = np.zeros(before.shape[:2], bool)
    touched[20:30, 30:42] = touched[y, x] = True
    np.testing.assert_array_equal(after[~touched & (before[..., 3] > 0)], before[~touched & (before[..., 3] > 0)])
    np.testing.assert_array_equal(after[~touched, 3], before[~touched, 3])
    assert made.repainted(made.keyframes_folder("foreground"))


def test_it_goes_on_from_what_was_saved(opened: tuple[Edit, PaintedKeyframe]) -> None:
    made, painted = opened
    painted.put(0, 0, np.full((4, 4, 4), (1, 2, 3, 128), np.uint8))
    once = painted.painted()
    painted.save(made.keyframe_path("foreground", 4))
    np.testing.assert_array_equal(painted.painted(), once)


def test_other_frames_and_keyframes(opened: tuple[Edit, PaintedKeyframe]) -> None:
    made, painted = opened
    np.testing.assert_array_equal(painted.frame(5), painted.clip.frame(5))
    assert painted.texel(4, 3, 7) == (3.5, 7.5) and painted.texel(5, 3, 7) is None
    with pytest.raises(UserError, match="has no keyframe 5 of foreground: its keyframes are 4, 8"):
        PaintedKeyframe.open(painted.clip, made, "foreground", 5)
    with pytest.raises(ValueError, match="does not lie"):
        painted.put(-1, 0, np.zeros((4, 4, 4), np.uint8))
