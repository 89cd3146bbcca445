"""Poses: people's key points frame by frame, from OpenPose's JSON files (those of any tool that writes that format)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from atlas.errors import UserError, a_few
from atlas.storage.bounds import is_side
from atlas.storage.json_text import parsed, read_bounded
from atlas.storage.stamps import digest
from atlas.video.numbered import numbered_files
from edit.controls.people import followed
from edit.controls.smoothing import smoothed

POINTS = 18
"""Key points of a person in BODY_18 (COCO), the order in which ControlNet's poses are drawn."""
_NAME = re.compile(r"(?:.*\D)?(\d+)(?:_keypoints)?\.json", re.IGNORECASE)
_LARGEST = 4_000_000  # bytes: a person with hands and face has some 5000
_MOST_PEOPLE = 200
_SURE = 0.1  # confidence below which a point counts as missing
_BODY_25 = [*range(8), *range(9, 19)]  # the 18 among BODY_25's points, which has the middle of the hips and the feet as well
_NORMALISED = 1.5  # who leaves the frame has points beyond 1; nobody's pixels all lie that close to the corner
_FARTHEST = 10  # times the frame's side: nothing that was seen lies farther away
_SMALL = 0.05  # of the frame's longer side: people move by so much at least before they count as others


class Poses:
    """The people of a clip's frames by their key points, smoothed over time (Savitzky-Golay, `edit.controls.smoothing`).

    UserError where a file is none of OpenPose's, or no file holds a person. Smoothing uses all files that are there.
    """

    def __init__(
        self,
        folder: Path,
        width: int,  # of the clip's frames
        height: int,
        window: int,  # frames that are smoothed over, odd; 0: points stay as they are
    ) -> None:
        if not folder.is_dir():
            raise UserError(f"--poses {folder} is no folder: give the folder with OpenPose's JSON files")
        self.folder = folder
        self.files = numbered_files(folder, _NAME, "pose file", "00012.json")
        people = {frame: read_people(path, width, height) for frame, path in self.files.items()}
        if not any(len(found) for found in people.values()):
            raise UserError(f"--poses {folder} holds nobody: no key point of its files has a confidence of {_SURE} or more")
        self._people = _smoothed(people, window, _SMALL * max(width, height)) if window else people

    def check(self, frames: Iterable[int]) -> None:
        """UserError that names the frames without a file."""
        missing = [frame for frame in frames if frame not in self.files]
        if missing:
            raise UserError(
                f"--poses {self.folder} has no file of frame {a_few(missing)}: add {missing[0]:05d}.json "
                f"(found: {a_few(self.files)})"
            )

    def at(self, frame: int) -> np.ndarray:  # (people, 18, 2)
        """Key points of a frame's people, x and y in pixels of the frame from its upper left corner; NaN where missing."""
        return self._people.get(frame, np.empty((0, POINTS, 2)))

    def identity(self, frame: int) -> str:
        """Digest of what is drawn of a frame: of the points themselves, whatever files and smoothing they come from."""
        return digest(self.at(frame).tolist())


def read_people(path: Path, width: int, height: int) -> np.ndarray:  # (people, 18, 2)
    """Read the key points of a JSON file of OpenPose's, in pixels of a frame of `width` x `height`; NaN where missing.

    Bodies are BODY_18 (COCO, 54 numbers) or BODY_25 (75). Points are pixels of the frame, of a canvas of `canvas_width` x
    `canvas_height` where the file has one, or shares of its sides where all lie between 0 and 1. A list of one such object
    is read as the object. People without any point are left out. UserError, in one line, for anything else.
    """
    try:
        frame = _frame(parsed(read_bounded(path, _LARGEST)))
        bodies = [_body(person) for person in frame["people"]]
        seen = [body for body in bodies if body is not None and np.isfinite(body).any()]
        return _in_pixels(np.array(seen, float).reshape(-1, POINTS, 2), frame, width, height)
    except (OSError, ValueError) as problem:
        raise UserError(f"{path} holds no poses that can be read ({problem}): write it with OpenPose again") from None


def _frame(content: Any) -> dict[str, Any]:
    if isinstance(content, list) and len(content) == 1:
        content = content[0]
    people = content.get("people") if isinstance(content, dict) else None
    if not isinstance(people, list) or len(people) > _MOST_PEOPLE:
        raise ValueError(f"its top is no object with a list of at most {_MOST_PEOPLE} people")
    return content


def _body(person: Any) -> np.ndarray | None:  # (18, 2)
    """One person's points as they are written; None without a body: some files have hands or faces alone."""
    numbers = person.get("pose_keypoints_2d") if isinstance(person, dict) else 0
    if numbers is None or numbers == []:
        return None
    if not isinstance(numbers, list) or len(numbers) not in (3 * POINTS, 75):
        raise ValueError(f"a person's pose_keypoints_2d is no list of {3 * POINTS} (BODY_18) or 75 (BODY_25) numbers")
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
        raise ValueError("a person's pose_keypoints_2d holds something that is no number")
    points = np.array(numbers, float).reshape(-1, 3)
    points = points[_BODY_25] if len(points) == 25 else points
    return np.where(points[:, 2:] >= _SURE, points[:, :2], np.nan)


def _in_pixels(people: np.ndarray, frame: dict[str, Any], width: int, height: int) -> np.ndarray:  # (people, 18, 2)
    known = people[np.isfinite(people)]
    canvas = [frame.get(name) for name in ("canvas_width", "canvas_height")]
    if canvas != [None, None] and not all(is_side(side) for side in canvas):
        raise ValueError("its canvas_width and canvas_height are no sizes in pixels")
    if len(known) and known.min() >= 1 - _NORMALISED and known.max() <= _NORMALISED:
        people = people * [width, height]
    elif canvas != [None, None]:
        people = people * (np.array([width, height]) / np.array(canvas, float))
    if (np.abs(people) > np.array([width, height]) * float(_FARTHEST)).any():
        raise ValueError(f"a point lies more than {_FARTHEST} times the frame's side away from it")
    return people


def _smoothed(people: dict[int, np.ndarray], window: int, near: float) -> dict[int, np.ndarray]:
    found: dict[int, list[np.ndarray]] = {}
    for person in followed(people, window, near):
        for offset, points in enumerate(smoothed(person.points, window)):
            if np.isfinite(points).any():
                found.setdefault(person.first + offset, []).append(points)
    return {frame: np.stack(bodies) for frame, bodies in found.items()}
