"""Marked points: a CSV file of places that people followed from one frame into another, read for one clip.

    clip,width,height,frame_a,x_a,y_a,frame_b,x_b,y_b

A row says where a point of frame a lies in frame b. x and y count from the picture's upper left corner (the first pixel's
centre is 0.5, 0.5) at `width` x `height`; frames are those of the source. Columns may stand in any order, others are not read.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atlas.errors import UserError, a_few

COLUMNS = ("clip", "width", "height", "frame_a", "x_a", "y_a", "frame_b", "x_b", "y_b")
_OTHERS = 1000  # clips of a file that are remembered to be named where the one that is wanted is missing
_LONGEST = 60  # characters of a value that a message repeats


class NoPointsError(UserError):
    """A file of marked points has none that lie in the clip."""


@dataclass(frozen=True)
class MarkedPoint:
    """A place of one frame and where it lies in another, both as shares of the picture's width and height."""

    row: int
    """Line of the file."""
    frame_a: int
    """Of the clip, not of its source."""
    place_a: tuple[float, float]
    frame_b: int
    place_b: tuple[float, float]


@dataclass(frozen=True)
class MarkedPoints:
    """The points of a file that are of one clip."""

    file: Path
    points: list[MarkedPoint]
    left_out: int
    """Rows of the clip with a frame that the clip does not show."""


def read_points(
    path: Path,
    names: Sequence[str],
    shown: Sequence[int],
) -> MarkedPoints:
    """Read the marked points of one clip from a CSV file; rows of other clips are not looked at.

    names: what the clip may be called there; the first that has rows counts. shown: the source's frame that each frame of the
    clip shows. UserError, with the line, for a file that is none, a column that is missing, what is no number or no place of
    the picture; NoPointsError where no row is of this clip, or of frames that it shows.
    """
    try:
        named, others, columns = _rows(path, names)
    except OSError as problem:
        raise UserError(f"{path} cannot be read ({problem.strerror}): check the path") from None
    except (UnicodeDecodeError, csv.Error) as problem:
        raise UserError(f"{path} cannot be read as CSV ({problem}): save it as text in UTF-8") from None
    rows = next((rows for name in names if (rows := named[name])), [])
    if not rows:
        held = a_few((_short(name) for name in others), 8, "others")
        raise NoPointsError(
            f"{path} has no points of {' or '.join(names)}, only of {held or 'nothing'}: give a file of this clip"
        )
    frames = {source: index for index, source in reversed([*enumerate(shown)])}
    points, left_out = [], 0
    for line, cells in rows:
        row = _Row(f"{path}, line {line}", {name: cells[place] for name, place in columns.items()})
        pair = [row.whole(f"frame_{end}") for end in "ab"]
        places = [row.place(end) for end in "ab"]
        if any(frame not in frames for frame in pair):
            left_out += 1
            continue
        points.append(MarkedPoint(line, frames[pair[0]], places[0], frames[pair[1]], places[1]))
    if not points:
        raise NoPointsError(
            f"{path}, line {rows[0][0]}: the clip shows the source's frames {min(shown)} to {max(shown)}, "
            f"and no point is marked in two of them: give points of these, or prepare a longer clip"
        )
    return MarkedPoints(path, points, left_out)


def _rows(path: Path, names: Sequence[str]) -> tuple[dict[str, list[tuple[int, list[str]]]], list[str], dict[str, int]]:
    """Rows by name of the clip, each with its line; the other clips that the file has; where each column stands."""
    named: dict[str, list[tuple[int, list[str]]]] = {name: [] for name in names}
    others: dict[str, None] = {}
    if not path.is_file():  # a pipe that nobody writes to would never end
        raise UserError(f"{path} is {'no file' if path.exists() else 'missing'}: give a CSV file of marked points")
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream)
        header = [name.strip() for name in next(reader, [])]
        if missing := [name for name in COLUMNS if name not in header]:
            raise UserError(f"{path} lacks {a_few(missing, 9)} in its first line: it begins with {','.join(COLUMNS)}")
        columns = {name: header.index(name) for name in COLUMNS}
        for cells in filter(None, reader):
            if len(cells) != len(header):
                raise UserError(
                    f"{path}, line {reader.line_num}: {len(cells)} values for {len(header)} columns, write one for each"
                )
            name = cells[columns["clip"]].strip()
            if name in named:
                named[name].append((reader.line_num, cells))
            elif len(others) < _OTHERS:
                others[name] = None
    return named, [*others], columns


@dataclass(frozen=True)
class _Row:
    where: str
    """File and line."""
    values: dict[str, str]

    def place(self, end: str) -> tuple[float, float]:
        """Share of the picture's width and height at which the point lies in frame a or b."""
        shares = []
        for axis, side in (("x", "width"), ("y", "height")):
            name, length = f"{axis}_{end}", self._number(side)
            value = self._number(name)
            if length <= 0:
                raise UserError(f"{self.where}: {side} is {length:g}, it must be more than 0")
            if not 0 <= value <= length:
                raise UserError(f"{self.where}: {name} is {value:g}, outside the picture, whose {side} is {length:g}")
            shares.append(value / length)
        return shares[0], shares[1]

    def whole(self, name: str) -> int:
        """The number of a frame."""
        value = self._number(name)
        if value < 0 or value != math.floor(value):
            raise UserError(f"{self.where}: {name} is {_short(self.values[name])}, frames are counted 0, 1, 2 and so on")
        return int(value)

    def _number(self, name: str) -> float:
        try:
            value = float(self.values[name])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise UserError(f"{self.where}: {name} is {_short(self.values[name])!r}, write a number")
        return value


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
