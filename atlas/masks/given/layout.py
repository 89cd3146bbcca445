"""Which picture is the mask of which object in which frame, from the names of files and folders, whatever tool wrote them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from atlas.errors import UserError, a_few
from atlas.masks.gaps import LONGEST, bridgeable
from atlas.video.source import FrameSource, frame_number, list_images, natural_order

UNDERSTOOD = (
    "give a picture for each frame with the frame's name or number, or one for each object too (frame_00000_obj_1.png, or a "
    "folder for each object or for each frame), or one film of them"
)
"""What a refusal advises."""
_MOST_OBJECTS = 32
_STRAYS = 0.25
"""Share of the pictures of frames up to which others beside them, a copy or a contact sheet, are no further object."""

Column = list[Path | None]


@dataclass(frozen=True)
class Layout:
    """The masks of a clip's frames, found by their names."""

    columns: list[Column]
    """A list for each object that has pictures of its own, else one: of each clip frame the picture, None where it has none."""
    missing: list[int]
    """Clip frames of which no object has a picture: in others an object without one is not there."""
    arrangement: str
    """How they lie, in a few words."""


def find_layout(folder: Path, source: FrameSource, indices: list[int]) -> Layout:
    """Match pictures below `folder` to the source's frames `indices` (one for each clip frame).

    A picture belongs to the frame of the same name, else of the same number (a video's frames count from 0); as many as the
    source has frames are taken in order. Objects may have pictures of their own: in folders for each object or each frame, or
    by a second number or a word in the names. Of several readings the one that finds most frames is taken.
    Raises UserError where too many are missing to be filled in (`atlas.masks.gaps`), or names are not understood.
    """
    root = _descended(folder)
    images = list_images(root)
    folders = [] if images else [sub for sub in sorted(_folders(root), key=natural_order) if list_images(sub)]
    if not images and not folders:
        raise UserError(f"{folder} holds no PNG masks: {UNDERSTOOD}, auto, or box:x,y,w,h")
    readings = [reading for reading in _readings(root, images, folders, source) if any(any(column) for column in reading[0])]
    if not readings:
        raise UserError(f"{folder}: which picture belongs to which frame is not understood from their names: {UNDERSTOOD}")
    layouts = [_layout([[column[index] for index in indices] for column in columns], how) for columns, how in readings]
    best = min(layouts, key=lambda layout: len(layout.missing))
    missing = set(best.missing)
    if not bridgeable([index in missing for index in range(len(indices))]):
        numbers = [indices[place] for place in best.missing]
        names = a_few(source.images[index].name if source.images else index for index in numbers)
        raise UserError(
            f"{folder} has no mask for frame {names}: frames need one of the same name or number; at most {LONGEST}"
            " between two that have one may do without"
        )
    return best


def _layout(columns: list[Column], arrangement: str) -> Layout:
    columns = [column for column in columns if any(column)] or columns[:1]
    return Layout(columns, [place for place, paths in enumerate(zip(*columns, strict=True)) if not any(paths)], arrangement)


def _descended(folder: Path) -> Path:
    """Below folders that hold nothing but one folder."""
    while not list_images(folder) and len(below := list(_folders(folder))) == 1:
        folder = below[0]
    return folder


def _folders(folder: Path) -> Iterator[Path]:
    return (sub for sub in folder.iterdir() if sub.is_dir() and not sub.name.startswith("."))


def _readings(root: Path, images: list[Path], folders: list[Path], source: FrameSource) -> Iterator[tuple[list[Column], str]]:
    """Ways to read the names, the likelier first: columns over the *source's* frames, and how they lie."""
    files = images or [path for sub in folders for path in list_images(sub)]
    by_object = _by_object(root, files, source)
    count = len(by_object or [])
    arrangement = f"a picture for each of {count} objects in a frame" if count > 1 else "a picture for each frame"
    # As many objects as frames fit either way round.
    of_frames = _likeness([sub.name for sub in folders], source) > _likeness([path.stem for path in files], source)
    if by_object is not None and of_frames:
        yield by_object, arrangement
    if images:
        if (column := _by_frame(images, source)) is not None:
            yield [column], "a picture for each frame"
    else:
        columns = [_by_frame(list_images(sub), source) for sub in folders]
        if (known := [column for column in columns if column is not None]) and len(known) == len(columns):
            yield known, f"a folder for each of {len(known)} objects" if len(known) > 1 else "a picture for each frame"
    if by_object is not None and not of_frames:
        yield by_object, arrangement


def _likeness(names: Sequence[str], source: FrameSource) -> int:
    """How much names are those of the source's frames: 2 where they are the same, 1 where their numbers are, else 0."""
    if names and set(names) <= {frame.stem for frame in source.images}:
        return 2
    return int({frame_number(Path(name)) for name in names} == set(_numbers(source)))


def _by_frame(images: Sequence[Path], source: FrameSource) -> Column | None:
    """One picture for each frame, by its name, its last number or its place; None where two have the same number, unless some
    have the names of frames, or are numbers and nothing else: a copy beside them, or a contact sheet, is left out."""
    by_stem = {path.stem: path for path in images}
    numbers = [number for path in images if (number := frame_number(path)) is not None]
    by_number = {number: path for path in images if (number := frame_number(path)) is not None}
    named = [by_stem.get(frame.stem) for frame in source.images]
    if len(set(numbers)) < len(numbers):
        stems = {frame.stem for frame in source.images}
        same, plain = ([path for path in images if fits(path.stem)] for fits in (stems.__contains__, str.isdecimal))
        own = max(same, plain, key=len)
        if len(own) == len(images):
            return named if len(same) == len(images) else None
        strays = len(images) - len(own)
        return _by_frame(own, source) if own and (len(own) == len(plain) or strays <= _STRAYS * len(own)) else None
    column = [
        (named[frame] if named else None) or (by_number.get(number) if number is not None else None)
        for frame, number in enumerate(_numbers(source))
    ]
    # All frames are looked at, not only those taken: masks that count from 1 fit the first frames by accident.
    return list(images) if len(images) == source.frames and None in column else column


def _numbers(source: FrameSource) -> list[int | None]:
    return [frame_number(image) for image in source.images] if source.images else list(range(source.frames))


def _by_object(root: Path, files: Sequence[Path], source: FrameSource) -> list[Column] | None:
    """A picture for each object and frame: of the numbers in a path one is the frame, the others and its words the object."""
    split = {path: re.split(r"(\d+)", path.relative_to(root).with_suffix("").as_posix()) for path in files}
    kinds: dict[tuple[str, ...], list[Path]] = defaultdict(list)
    for path, parts in split.items():
        kinds[tuple(parts[::2])].append(path)
    if len(kinds) > _MOST_OBJECTS:
        return None
    expected = {number for number in _numbers(source) if number is not None}
    objects: dict[tuple[tuple[str, ...], tuple[int, ...]], dict[int, Path]] = defaultdict(dict)
    for words, paths in kinds.items():
        numbers = [[int(number) for number in split[path][1::2]] for path in paths]
        varying = _varying(numbers)
        if not numbers[0]:  # an overview, say
            continue
        if not varying:
            return None
        frame = max(varying, key=lambda place: _fits({row[place] for row in numbers}, expected))
        others = _telling([place for place in varying if place != frame], frame, numbers)
        for path, row in zip(paths, numbers, strict=True):
            its = objects[words, tuple(row[place] for place in others)]
            if row[frame] in its:
                return None
            its[row[frame]] = path
    if not 0 < len(objects) <= _MOST_OBJECTS:
        return None
    places = _places({number for its in objects.values() for number in its}, source)
    return [[its.get(place) if place is not None else None for place in places] for _, its in sorted(objects.items())]


def _varying(rows: list[list[int]]) -> list[int]:
    """Numbers that differ between paths, each once where two of them go together; the last one where there is but one path."""
    columns = list(zip(*rows, strict=True))
    if len(rows) == 1:
        return [len(columns) - 1] if columns else []
    return [place for place, column in enumerate(columns) if len(set(column)) > 1 and column not in columns[:place]]


def _telling(others: list[int], frame: int, rows: list[list[int]]) -> list[int]:
    """The one number that tells the pictures of a frame apart, of several that of the fewest values: scores and times vary too;
    all of them where none does alone."""
    for place in sorted(others, key=lambda place: len({row[place] for row in rows})):
        if len({(row[frame], row[place]) for row in rows}) == len(rows):
            return [place] if len({row[frame] for row in rows}) < len(rows) else []
    return others


def _fits(numbers: set[int], expected: set[int]) -> tuple[int, int]:
    """How well numbers fit those of the frames; of equals, the more there are of them the better."""
    return len(numbers & expected), len(numbers)


def _places(numbers: set[int], source: FrameSource) -> Sequence[int | None]:
    """The number that pictures of each of the source's frames have."""
    own = _numbers(source)
    if len(numbers) == source.frames and not numbers <= {number for number in own if number is not None}:
        return sorted(numbers)  # they count from 1, or in steps
    return own
