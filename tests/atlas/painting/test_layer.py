"""Painting on an atlas: what is shown of a frame is what the edit and render stages make of the same paint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.painting.layer import PaintedLayer, earlier_paint, paint_path
from atlas.rendering.frames import Rendering
from atlas.storage.images import read_image, to_8_bit, write_image
from edit.editors import EditOptions
from edit.stage import edit

FRAME = 5


def a_stroke(side: int, alpha: int = 255) -> np.ndarray:
    stroke = np.full((side, side, 4), (250, 90, 10, alpha), np.uint8)
    stroke[::3, :, 3] //= 2
    return stroke


def seen_corner(painted: PaintedLayer, side: int) -> tuple[int, int]:
    """Top and left of a square around a texel that frame FRAME shows."""
    y, x = np.argwhere(painted.maps.opacity(painted.layer, FRAME) == 1)[40]
    found = painted.texel(FRAME, int(x), int(y))
    assert found is not None
    height, width = painted.paint.shape[:2]
    return int(np.clip(found[1] - side / 2, 0, height - side)), int(np.clip(found[0] - side / 2, 0, width - side))


def rendered(clip: Clip, layer: str, image: Path, index: int, name: str = "painted") -> np.ndarray:
    edit(EditOptions(clip=clip.folder, name=name, layer=layer, fit="truth", editor="atlas", image=image, quiet=True))
    return list(Rendering.open(clip.folder, name).frames())[index][1]


@pytest.mark.parametrize("layer", ["foreground", "background"])
def test_what_is_shown_is_what_is_rendered(fresh_clip: Clip, tmp_path: Path, layer: str) -> None:
    painted = PaintedLayer.open(fresh_clip, "truth", layer)
    np.testing.assert_array_equal(painted.frame(FRAME), fresh_clip.frame(FRAME))
    painted.put(*seen_corner(painted, 30), a_stroke(30))
    shown = painted.frame(FRAME)
    assert (shown != fresh_clip.frame(FRAME)).any(-1).sum() > 50
    painted.save(tmp_path / "paint.png")
    np.testing.assert_array_equal(read_image(tmp_path / "paint.png"), painted.paint)
    expected = rendered(fresh_clip, layer, tmp_path / "paint.png", FRAME)
    # Residual transfer compares neighbourhoods, here those of the stroke and there those of the layer, on grids of 3 texels.
    difference = np.abs(shown.astype(int) - expected)
    assert difference.max() <= 3 and difference.mean() < 0.02


def test_strokes_one_by_one_are_the_whole_at_once(fresh_clip: Clip) -> None:
    one, whole = (PaintedLayer.open(fresh_clip, "truth", "background") for _ in range(2))
    top, left = seen_corner(one, 40)
    for part in range(4):
        one.put(top + 10 * part, left, a_stroke(40)[10 * part : 10 * part + 10])
    whole.put(top, left, a_stroke(40))
    np.testing.assert_array_equal(one.paint, whole.paint)
    difference = np.abs(one.frame(FRAME).astype(int) - whole.frame(FRAME))
    assert difference.max() <= 3


def test_what_is_taken_away_again_leaves_the_frame_to_the_bit(fresh_clip: Clip) -> None:
    painted = PaintedLayer.open(fresh_clip, "truth", "background")
    corner = seen_corner(painted, 40)
    painted.put(*corner, a_stroke(40, 180))
    assert (painted.frame(FRAME) != fresh_clip.frame(FRAME)).any()
    painted.put(*corner, np.zeros((40, 40, 4), np.uint8))
    np.testing.assert_array_equal(painted.frame(FRAME), fresh_clip.frame(FRAME))


def test_paint_is_taken_up_where_it_was_left(fresh_clip: Clip, tmp_path: Path) -> None:
    painted = PaintedLayer.open(fresh_clip, "truth", "background")
    painted.put(*seen_corner(painted, 20), a_stroke(20))
    painted.save(tmp_path / "paint.png")
    rendered(fresh_clip, "background", tmp_path / "paint.png", FRAME)
    made = Edit.open(fresh_clip, "painted")
    again = PaintedLayer.open(fresh_clip, "truth", "background", made)
    np.testing.assert_array_equal(again.frame(FRAME), painted.frame(FRAME))  # from the edit's atlas
    painted.save(paint_path(made, "background"))
    again = PaintedLayer.open(fresh_clip, "truth", "background", made)
    np.testing.assert_array_equal(again.paint, painted.paint)  # from the paint itself


def test_of_a_painted_copy_what_differs_is_paint(fresh_clip: Clip, tmp_path: Path) -> None:
    maps = PaintedLayer.open(fresh_clip, "truth", "foreground").maps
    copy = to_8_bit(read_image(maps.atlas_path("foreground"), mode="rgba")).copy()
    seen = np.argwhere(copy[..., 3] == 255)[100:130]
    copy[seen[:, 0], seen[:, 1], :3] ^= 128
    write_image(tmp_path / "copy.png", copy)
    rendered(fresh_clip, "foreground", tmp_path / "copy.png", FRAME)
    paint = earlier_paint(Edit.open(fresh_clip, "painted"), maps, "foreground")
    assert paint is not None
    np.testing.assert_array_equal(np.argwhere(paint[..., 3] > 0), seen)
    np.testing.assert_array_equal(paint[seen[:, 0], seen[:, 1]], copy[seen[:, 0], seen[:, 1]])


def test_beside_edits_of_other_layers(fresh_clip: Clip, tmp_path: Path) -> None:
    background = PaintedLayer.open(fresh_clip, "truth", "background")
    background.put(*seen_corner(background, 30), a_stroke(30))
    background.save(tmp_path / "behind.png")
    rendered(fresh_clip, "background", tmp_path / "behind.png", FRAME)
    painted = PaintedLayer.open(fresh_clip, "truth", "foreground", Edit.open(fresh_clip, "painted"))
    painted.put(*seen_corner(painted, 20), a_stroke(20))
    shown = painted.frame(FRAME)
    painted.save(tmp_path / "before.png")
    expected = rendered(fresh_clip, "foreground", tmp_path / "before.png", FRAME)
    assert np.abs(shown.astype(int) - expected).max() <= 3


def test_a_keep_mask_holds_before_it_is_saved(fresh_clip: Clip) -> None:
    painted = PaintedLayer.open(fresh_clip, "truth", "background")
    made = Edit(fresh_clip.edit_folder("kept"), "kept", "truth")
    made.save()
    made.save_keep("background", np.full(painted.paint.shape[:2], 255, np.uint8))
    painted = PaintedLayer.open(fresh_clip, "truth", "background", made)
    painted.put(*seen_corner(painted, 30), a_stroke(30))
    np.testing.assert_array_equal(painted.frame(FRAME), fresh_clip.frame(FRAME))


def test_what_cannot_be_painted(fresh_clip: Clip) -> None:
    with pytest.raises(UserError, match="no layer 'sky'"):
        PaintedLayer.open(fresh_clip, "truth", "sky")
    painted = PaintedLayer.open(fresh_clip, "truth", "background")
    side = painted.paint.shape[0]
    with pytest.raises(ValueError, match="does not lie in"):
        painted.put(side - 5, 0, a_stroke(10))
    assert painted.texel(FRAME, 0, 0) is not None
    foreground = PaintedLayer.open(fresh_clip, "truth", "foreground")
    y, x = np.argwhere(foreground.maps.opacity("foreground", FRAME) == 0)[0]
    assert foreground.texel(FRAME, int(x), int(y)) is None
