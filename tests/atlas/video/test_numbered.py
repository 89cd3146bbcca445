"""A folder of images by frame number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from atlas.errors import UserError
from atlas.storage.images import write_image
from atlas.video.numbered import NumberedImages


def test_the_last_number_of_a_name_counts(tmp_path: Path) -> None:
    for name in ("take2_00012.png", "7.PNG", ".3.png", "notes.png"):
        write_image(tmp_path / "image.png", np.full((4, 6, 3), 90, np.uint8))
        (tmp_path / "image.png").rename(tmp_path / name)
    (tmp_path / "5.txt").write_text("no image")
    images = NumberedImages(tmp_path, 6, 4, "--images")
    assert {index: path.name for index, path in images.files.items()} == {7: "7.PNG", 12: "take2_00012.png"}
    images.check([12, 7])
    assert images.read(7).shape == (4, 6, 4)
    with pytest.raises(UserError, match=r"no image of keyframe 8.*add 00008.png.*\(found: 7, 12\)"):
        images.check([7, 8])


def test_folders_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name, message in (("none", "is not a folder, it is missing: give"), ("file", "file is not a folder: give the folder")):
        with pytest.raises(UserError, match=f"^--control-images .*{message}"):
            NumberedImages(tmp_path / name, 6, 4, "--control-images")


def test_a_link_to_nothing_is_told(tmp_path: Path) -> None:
    write_image(tmp_path / "4.png", np.zeros((20, 30, 3), np.uint8))
    (tmp_path / "5.png").symlink_to(tmp_path / "nothing.png")
    with pytest.raises(UserError, match=r"5.png is a link to .*nothing.png, which is not there"):
        NumberedImages(tmp_path, 30, 20, "--images")
