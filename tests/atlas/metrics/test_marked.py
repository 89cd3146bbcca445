"""The file of marked points: what is read of it, and what is said of one that will not do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from atlas.errors import UserError
from atlas.metrics.marked import COLUMNS, MarkedPoint, read_points

HEADER = ",".join(COLUMNS)
ROW = "swan,200,100,0,50,25,9,199.5,0.5"
SHOWN = range(10)


def write(folder: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path = folder / "points.csv"
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def test_a_place_is_a_share_of_the_picture(tmp_path: Path) -> None:
    marked = read_points(write(tmp_path, HEADER, "goat,1,1,0,0,0,1,1,1", ROW), ["swan"], SHOWN)
    assert marked.points == [MarkedPoint(3, 0, (0.25, 0.25), 9, (0.9975, 0.005))] and marked.left_out == 0


def test_columns_stand_in_any_order_and_may_be_more(tmp_path: Path) -> None:
    order = [*reversed(COLUMNS), "who"]
    values = dict(zip(COLUMNS, ROW.split(","), strict=True)) | {"who": '"a, b"'}
    path = write(tmp_path, ",".join(order), "", ",".join(values[name] for name in order), encoding="utf-8-sig")
    assert read_points(path, ["swan"], SHOWN).points[0].place_a == (0.25, 0.25)


def test_frames_are_those_of_the_source(tmp_path: Path) -> None:
    rows = [ROW.replace(",9,", f",{frame},").replace("100,0,", "100,4,") for frame in (8, 9, 12, 4)]
    marked = read_points(write(tmp_path, HEADER, *rows), ["swan"], [4, 6, 8, 8, 10, 12])
    assert [(point.row, point.frame_a, point.frame_b) for point in marked.points] == [(2, 0, 2), (4, 0, 5), (5, 0, 0)]
    assert marked.left_out == 1, "frame 9 is not shown"
    with pytest.raises(UserError, match=r"points.csv, line 2: the clip shows the source's frames 20 to 29, and no point"):
        read_points(tmp_path / "points.csv", ["swan"], range(20, 30))


def test_the_first_name_that_has_rows_counts(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, ROW, ROW.replace("swan", "black"), ROW.replace("swan", "goat"))
    assert [point.row for point in read_points(path, ["mine", "black", "swan"], SHOWN).points] == [3]
    with pytest.raises(UserError, match=r"has no points of a or b, only of swan, black and goat"):
        read_points(path, ["a", "b"], SHOWN)
    many = write(tmp_path, HEADER, *(ROW.replace("swan", f"clip-{number}") for number in range(30)))
    with pytest.raises(UserError, match=r"only of clip-0, .*clip-7 and 22 others"):
        read_points(many, ["swan"], SHOWN)
    with pytest.raises(UserError, match="only of nothing"):
        read_points(write(tmp_path, HEADER), ["swan"], SHOWN)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("x_a", "left", "line 3: x_a is 'left', write a number"),
        ("y_b", "nan", "line 3: y_b is 'nan', write a number"),
        ("y_b", "", "line 3: y_b is '', write a number"),
        ("x_b", "200.5", "line 3: x_b is 200.5, outside the picture, whose width is 200"),
        ("y_a", "-0.1", "line 3: y_a is -0.1, outside the picture, whose height is 100"),
        ("width", "0", "line 3: width is 0, it must be more than 0"),
        ("frame_a", "-1", "line 3: frame_a is -1, frames are counted 0, 1, 2 and so on"),
        ("frame_b", "1.5", "line 3: frame_b is 1.5, frames are counted"),
        ("frame_b", "1e999", "line 3: frame_b is '1e999', write a number"),
        ("x_a", "9" * 100_000 + "x", "line 3: x_a is '9999"),
    ],
)
def test_damaged_values(tmp_path: Path, column: str, value: str, said: str) -> None:
    values = dict(zip(COLUMNS, ROW.split(","), strict=True)) | {column: value}
    path = write(tmp_path, HEADER, ROW, ",".join(values.values()))
    with pytest.raises(UserError) as raised:
        read_points(path, ["swan"], SHOWN)
    assert said in str(raised.value) and "points.csv" in str(raised.value) and len(str(raised.value)) < 400
    goats = write(tmp_path, HEADER, ROW, ",".join((values | {"clip": "goat"}).values()))
    assert len(read_points(goats, ["swan"], SHOWN).points) == 1, "rows of other clips are not looked at"


def test_what_is_no_file_of_points(tmp_path: Path) -> None:
    def said(path: Path) -> str:
        with pytest.raises(UserError) as raised:
            read_points(path, ["swan"], SHOWN)
        assert "\n" not in str(raised.value) and str(path) in str(raised.value)
        return str(raised.value)

    assert "lacks y_a and frame_b in its first line" in said(write(tmp_path, "clip,width,height,frame_a,x_a,x_b,y_b", ROW))
    assert "line 2: 8 values for 9 columns" in said(write(tmp_path, HEADER, ROW.rpartition(",")[0]))
    assert "lacks" in said(write(tmp_path, ""))
    assert "none.csv is missing" in said(tmp_path / "none.csv")
    assert "is no file" in said(tmp_path)
    (tmp_path / "points.csv").write_bytes(b"\xff\xfe" + HEADER.encode("utf-16-le"))
    assert "save it as text in UTF-8" in said(tmp_path / "points.csv")
    assert "cannot be read" in said(write(tmp_path, HEADER, "a" * 200_000))
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert "is no file" in said(tmp_path / "pipe")
