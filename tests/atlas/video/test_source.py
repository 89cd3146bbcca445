"""Folders of frames: order, formats, sizes; and which frames are taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from atlas.errors import UserError
from atlas.storage.images import write_image
from atlas.video.source import fit_image, fitted_size, frame_number, list_images, open_source


def grey(value: int, height: int = 20, width: int = 30) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_names_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 1, 100):
        write_image(tmp_path / f"shot 2 - {number}.png", grey(number))
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / "._shot 2 - 1.png").write_bytes(b"a Mac's shadow file")
    source = open_source(tmp_path)
    assert [frame_number(path) for path in source.images] == [1, 9, 10, 100]
    assert [int(frame[0, 0, 0]) for frame in source.read([0, 1, 1, 3])] == [1, 9, 9, 100]
    assert (source.width, source.height, source.frames, source.fps) == (30, 20, 4, 24)
    assert open_source(tmp_path, 30.0).fps == 30


def test_the_same_frame_twice_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png", grey(1))
    write_image(tmp_path / "1.jpg", grey(1))
    with pytest.raises(UserError, match="both"):
        list_images(tmp_path)
    (tmp_path / "1.jpg").rename(tmp_path / "0001.png")
    with pytest.raises(UserError, match="both"):
        list_images(tmp_path)


def test_a_link_to_nothing_is_no_frame_that_is_left_out(tmp_path: Path) -> None:
    for number in range(3):
        write_image(tmp_path / f"{number}.png", grey(number))
    (tmp_path / "3.png").symlink_to(tmp_path / "0.png")
    assert len(list_images(tmp_path)) == 4
    (tmp_path / "4.png").symlink_to(tmp_path / "nothing.png")
    with pytest.raises(UserError, match=r"4.png is a link to .*nothing.png, which is not there"):
        list_images(tmp_path)


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([0, 1, 2, 3, 5, 6, 7], ["has no frames between f3.png and f5.png: those that are there follow each other"]),
        ([10, 20, 30, 40, 70], ["has no frames between f40.png and f70.png: those that are there follow each other"]),
        ([0, 2, 4, 6, 8], []),
        ([5, 6, 8, 11, 12, 20, 31], []),  # nothing is usual here
        ([7, 8], []),
    ],
)
def test_numbers_that_lack_are_told(tmp_path: Path, numbers: list[int], said: list[str]) -> None:
    for number in numbers:
        write_image(tmp_path / f"f{number}.png", grey(number))
    assert open_source(tmp_path).remarks() == said


@pytest.mark.parametrize("kind", ["grey", "grey16", "rgb", "rgb16", "rgba", "rgba16"])
def test_every_kind_of_png_gives_the_same_frame(tmp_path: Path, kind: str) -> None:
    top, kind_of = (65535, np.uint16) if kind.endswith("16") else (255, np.uint8)
    shape = {"grey": (20, 30), "rgb": (20, 30, 3), "rgba": (20, 30, 4)}[kind.removesuffix("16")]
    image = np.full(shape, 128 * top // 255, kind_of)
    if "rgba" in kind:
        image[..., 3] = top
        image[:10, :, 3] = 0
    for number in range(2):
        write_image(tmp_path / f"{number}.png", image)
    frame = fit_image(next(open_source(tmp_path).read([0])), (30, 20))
    assert frame.dtype == np.uint8 and frame.shape == (20, 30, 3)
    assert (frame[10:] == 128).all()
    assert (frame[:10] == (0 if "rgba" in kind else 128)).all()


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing"):
        open_source(tmp_path / "none")
    with pytest.raises(UserError, match="holds no JPEG or PNG frames"):
        open_source(tmp_path)
    write_image(tmp_path / "0.png", grey(0))
    with pytest.raises(UserError, match="one single frame, a fit needs at least two"):
        open_source(tmp_path)
    with pytest.raises(UserError, match="one single frame"):
        open_source(tmp_path / "0.png")
    write_image(tmp_path / "1.png", grey(0, 20, 31))
    with pytest.raises(UserError, match=r"1\.png is 31x20"):
        list(open_source(tmp_path).read([0, 1]))
    write_image(tmp_path / "1.png", grey(0))
    write_image(tmp_path / "2.jpg", np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8))
    (tmp_path / "2.jpg").write_bytes((tmp_path / "2.jpg").read_bytes()[:-100])
    with pytest.raises(UserError, match=r"2\.jpg is truncated"):
        list(open_source(tmp_path).read([0, 1, 2]))


def test_tiny_frames_are_refused(tmp_path: Path) -> None:
    for number in range(2):
        write_image(tmp_path / f"{number}.png", grey(0, 8, 40))
    with pytest.raises(UserError, match="at least 16 pixels"):
        open_source(tmp_path)


def test_the_size_limit() -> None:
    assert fitted_size(854, 480, 768) == (768, 432)
    assert fitted_size(480, 854, 768) == (432, 768)
    assert fitted_size(101, 55, 768) == (101, 55)  # as it is
    assert fitted_size(390, 844, 768) == (354, 768)
    assert fitted_size(1921, 1081, 767) == (766, 432)
    assert fitted_size(16384, 16, 768) == (768, 2)


def test_averaging_down() -> None:
    stripes = np.zeros((4, 4, 3), np.uint8)
    stripes[:, ::2] = 200
    assert (fit_image(stripes, (2, 2)) == 100).all()
    assert (fit_image(stripes.astype(np.uint16) * 257, (2, 2)) == 100).all()
