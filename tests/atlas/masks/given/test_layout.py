"""Masks are matched to frames and objects by their names, whatever tool wrote them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from atlas.errors import UserError
from atlas.masks.given.layout import find_layout
from atlas.video.source import FrameSource

FRAMES, WORDS = 6, ("cat", "dog")


@pytest.fixture
def source(tmp_path: Path) -> FrameSource:
    images = [tmp_path / "frames" / f"{i:05d}.png" for i in range(FRAMES)]  # they are never opened
    return FrameSource(tmp_path / "frames", 32, 24, FRAMES, 24, images)  # type: ignore[arg-type]


def files(root: Path, pattern: str, objects: int, *, first: int = 0, lacks: Callable[[int, int], bool] | None = None) -> Path:
    for i in range(FRAMES):
        for k in range(objects):
            if lacks is None or not lacks(i, k):
                path = root / pattern.format(i=i + first, k=k + 1, n=WORDS[k])
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"{i} {k}")
    return root


def read(folder: Path, source: FrameSource, indices: list[int]) -> list[list[str | None]]:
    columns = find_layout(folder, source, indices).columns
    return [[None if path is None else path.read_text() for path in column] for column in columns]


TWO = [
    "frame_{i:05d}_obj_{k}.png",
    "{i:05d}_{k}.png",
    "obj{k}_{i:05d}.png",
    "{n}_{i:05d}.png",
    "{i:05d}_{n}.png",
    "{i:05d}/{k}.png",
    "{i:05d}/{n}.png",
    "frame_{i:05d}/frame_{i:05d}_obj{k}.png",
    "{k}/{i:05d}.png",
    "{n}/{i}.png",
    "obj_{k:03d}/mask_{i}.png",
    "mask_{i}_{k}_final_v3.png",
    "{i:05d}_obj{k}_score0.{k}{i}.png",
]
ONE = ["frame_{i:05d}_obj_1.png", "{i:05d}/mask.png", "a/480p/clip/{i}.png", "clip7_take2_{i:05d}_mask.png"]


@pytest.mark.parametrize("pattern", TWO)
@pytest.mark.parametrize("first", [0, 1])
def test_two_objects(pattern: str, first: int, source: FrameSource, tmp_path: Path) -> None:
    folder = files(tmp_path / "m", pattern, 2, first=first)
    assert read(folder, source, [1, 4]) == [["1 0", "4 0"], ["1 1", "4 1"]]


@pytest.mark.parametrize("pattern", ONE)
def test_one_object(pattern: str, source: FrameSource, tmp_path: Path) -> None:
    assert read(files(tmp_path / "m", pattern, 1), source, [1, 4]) == [["1 0", "4 0"]]


@pytest.mark.parametrize("pattern", ["frame_{i:05d}_obj_{k}.png", "{k}/{i:05d}.png", "{i:05d}/{k}.png"])
def test_an_object_without_a_picture_is_not_there(pattern: str, source: FrameSource, tmp_path: Path) -> None:
    folder = files(tmp_path / "m", pattern, 2, lacks=lambda i, k: i == 3 or (k == 1 and i < 2))
    layout = find_layout(folder, source, list(range(FRAMES)))
    assert layout.missing == [3]
    assert [place for place, path in enumerate(layout.columns[1]) if path is None] == [0, 1, 3]


@pytest.mark.parametrize("stray", ["00001 (1)", "00001-copy", "00001_x", "sheet1"])
@pytest.mark.parametrize("first", [0, 1])
def test_a_stray_picture_is_no_object(stray: str, first: int, source: FrameSource, tmp_path: Path) -> None:
    folder = files(tmp_path / "m", "{i:05d}.png", 1, first=first)
    (folder / f"{stray}.png").write_text("a copy")
    for images in (source.images, []):  # a folder of frames, and a film
        frames = FrameSource(source.path, 32, 24, FRAMES, 24, images)  # type: ignore[arg-type]
        assert read(folder, frames, [1, 4]) == [["1 0", "4 0"]]


def test_a_stray_picture_where_frames_are_missing(source: FrameSource, tmp_path: Path) -> None:
    folder = files(tmp_path / "m", "{i:05d}.png", 1, lacks=lambda i, k: i % 2 == 1)
    (folder / "00004-copy.png").write_text("a copy")
    assert read(folder, source, [0, 1, 2]) == [["0 0", None, "2 0"]]


@pytest.mark.parametrize("pattern", ["{i:05d}/{k}.png", "{i:05d}/obj_{k:02d}.png", "frame_{i:05d}/{k}.png", "{k}/{i:05d}.png"])
def test_as_many_objects_as_frames(pattern: str, source: FrameSource, tmp_path: Path) -> None:
    for i in range(FRAMES):
        for k in range(FRAMES):
            path = tmp_path / "m" / pattern.format(i=i, k=k + 1)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{i} {k}")
    assert read(tmp_path / "m", source, [1, 4]) == [[f"1 {k}", f"4 {k}"] for k in range(FRAMES)]


def test_what_is_not_understood_says_what_would_be(source: FrameSource, tmp_path: Path) -> None:
    for folder, pattern in (("a", "{i}/{i}_x.png"), ("b", "mask.png"), ("c", "x/y.png")):
        files(tmp_path / folder, pattern, 1)
    (tmp_path / "a" / "2" / "9_x.png").write_text("another of the same frame and object")
    (tmp_path / "a" / "2" / "7_x.png").write_text("a third")
    for folder in "bc":
        with pytest.raises(UserError, match=r"is not understood from their names: give a picture for each frame"):
            find_layout(tmp_path / folder, source, list(range(FRAMES)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no PNG masks: .*frame_00000_obj_1\.png.* one film"):
        find_layout(tmp_path / "empty", source, [0, 1])
