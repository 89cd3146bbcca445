"""Keyframes edited elsewhere: which are found, what of them applies, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.maps.maps import Maps
from atlas.storage.images import read_image, to_uint8, write_image
from edit.editors import EditOptions
from edit.stage import edit


def options(clip: Clip, **changes: Any) -> EditOptions:
    given = {"name": "test", "layer": "foreground", "fit": "truth", "editor": "images"}
    return EditOptions(clip=clip.folder, quiet=True, **(given | changes))


def painted_frames(clip: Clip, folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        write_image(folder / name, np.full((clip.height, clip.width, 3), 200, np.uint8))
    return folder


def test_images_are_found_by_number(fresh_clip: Clip, tmp_path: Path) -> None:
    folder = painted_frames(fresh_clip, tmp_path / "bilder ä", "3.png", "00007.png", "frame_00009.jpg")
    assert edit(options(fresh_clip, images=folder)).keyframes == [3, 7, 9]
    assert edit(options(fresh_clip, images=folder, keyframes="9,3")).keyframes == [3, 9]


def test_alpha_of_an_image_says_where_the_edit_applies(fresh_clip: Clip, tmp_path: Path) -> None:
    image = np.full((fresh_clip.height, fresh_clip.width, 4), 200, np.uint8)
    image[:, : fresh_clip.width // 2, 3] = 0
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "4.png", image)
    written = read_image(edit(options(fresh_clip, images=tmp_path / "in")).edit.keyframe_path("foreground", 4))
    opacity = to_uint8(Maps(fresh_clip.fit_folder("truth")).opacity("foreground", 4))
    half = fresh_clip.width // 2
    assert (written[:, :half, 3] == 0).all()
    assert np.array_equal(written[:, :half, :3], fresh_clip.frame(4)[:, :half])
    assert np.abs(written[:, half:, 3].astype(int) - np.round(opacity[:, half:] * (200 / 255))).max() <= 1


def test_images_that_do_not_fit(fresh_clip: Clip, tmp_path: Path) -> None:
    folder = painted_frames(fresh_clip, tmp_path / "in", "3.png", "12.png")
    with pytest.raises(UserError, match="keyframe 12 is past the end"):
        edit(options(fresh_clip, images=folder))
    with pytest.raises(UserError, match=r"no image of keyframe 5.*add 00005.png"):
        edit(options(fresh_clip, images=folder, keyframes="3,5"))
    write_image(folder / "0003.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(UserError, match=r"two images of keyframe 3 \(0003.png, 3.png\)"):
        edit(options(fresh_clip, images=folder, keyframes="3"))
    (folder / "3.png").unlink()
    with pytest.raises(UserError, match="0003.png is 4x4, the clip's frames are 96x64"):
        edit(options(fresh_clip, images=folder, keyframes="3"))
    (folder / "0003.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="not a readable image"):
        edit(options(fresh_clip, images=folder, keyframes="3"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no image named by a frame number"):
        edit(options(fresh_clip, images=tmp_path / "empty"))
    assert not (fresh_clip.folder / "edits").exists()
