"""The contact sheet of methods: a row for each, in order, with the frames that were written."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from atlas.storage.images import read_image
from scripts.benchmarks.methods.sheet import columns, write_sheet, write_strip


def flat(grey: int) -> np.ndarray:
    return np.full((40, 60, 3), grey, np.uint8)


def test_rows_are_methods_and_columns_frames(tmp_path: Path) -> None:
    numbers = columns(30)
    assert numbers[0] == 0 and numbers[-1] == 29 and len(numbers) == 6
    for row, name in enumerate(("source", "one", "two")):
        write_strip(tmp_path / f"{name}.png", (flat(60 * row + 4 * column + 30) for column in range(6)))
    names = ("source", "one", "gone", "two")
    write_sheet(tmp_path / "methods.png", {name: tmp_path / f"{name}.png" for name in names}, 30)
    sheet = read_image(tmp_path / "methods.png")
    pictures = [[60 * row + 4 * column + 30 for column in range(6)] for row in range(3)]
    height, width = sheet.shape[0] / 3, sheet.shape[1] / 7
    for row, greys in enumerate(pictures):
        middle = int(sheet.shape[0] - (2.5 - row) * height)
        assert [int(sheet[middle, int((column + 1.5) * width), 0]) for column in range(6)] == greys
        assert (sheet[middle - 10 : middle + 10, : int(width)] > 150).any(), "a name stands in front"


def test_without_a_strip_there_is_no_sheet(tmp_path: Path) -> None:
    write_sheet(tmp_path / "methods.png", {"one": tmp_path / "one.png"}, 12)
    assert not (tmp_path / "methods.png").exists()


def test_a_short_clip_is_shown_whole(tmp_path: Path) -> None:
    write_strip(tmp_path / "one.png", (flat(90) for _ in columns(2)))
    write_sheet(tmp_path / "methods.png", {"one": tmp_path / "one.png"}, 2)
    assert read_image(tmp_path / "methods.png").shape[1] < 4 * 64 + 8
