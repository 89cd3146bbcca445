"""A folder of files named by frame number: images of the frames' size (edited keyframes, control images), poses."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from atlas.errors import UserError
from atlas.storage.images import read_image
from atlas.storage.links import refuse_lost_link
from atlas.storage.pictures import WantedSize

_IMAGE = re.compile(r"(?:.*\D)?(\d+)\.(?:png|jpg|jpeg)", re.IGNORECASE)


class NumberedImages:
    """The images of a folder by frame number; `option` names what gave the folder in messages. All must have one size."""

    def __init__(self, folder: Path, width: int, height: int, option: str) -> None:
        check_folder(folder, option)
        self.folder, self.width, self.height = folder, width, height
        self.files = numbered_files(folder, _IMAGE, "image", "00012.png")

    def check(self, indices: list[int]) -> None:
        """UserError where an image is missing, unreadable or of another size. Nothing has been written yet."""
        missing = [index for index in indices if index not in self.files]
        if missing:
            raise UserError(
                f"{self.folder} has no image of keyframe {', '.join(map(str, missing))}: add {missing[0]:05d}.png "
                f"or leave it out of --keyframes (found: {', '.join(map(str, self.files))})"
            )
        for index in indices:
            self.read(index)

    def read(self, index: int) -> np.ndarray:
        """The image of this frame number as stored, (H, W, 4)."""
        advice = "edit the images of the clip's frames/ folder without scaling or cropping them"
        size = WantedSize(self.height, self.width, "the clip's frames are", advice)
        return read_image(self.files[index], mode="rgba", size=size)


def check_folder(folder: Path, option: str) -> None:
    """UserError where the folder that `option` names is none."""
    if not folder.is_dir():
        is_none = "is not a folder" if folder.exists() else "is not a folder, it is missing"
        raise UserError(f"{option} {folder} {is_none}: give the folder with the images of the keyframes")


def numbered_files(
    folder: Path,
    pattern: re.Pattern[str],  # of a whole name, its first group the number
    kind: str,
    example: str,
) -> dict[int, Path]:
    """Find the files of a folder by frame number, sorted; UserError where there are none, two of one, or a link to nothing.

    kind, example: what they are and the name of that of frame 12, for messages.
    """
    files: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        match = pattern.fullmatch(path.name)
        if path.name.startswith(".") or match is None:
            continue
        refuse_lost_link(path)
        if not path.is_file():
            continue
        index = int(match[1])
        if index in files:
            raise UserError(f"{folder} has two {kind}s of keyframe {index} ({files[index].name}, {path.name}): remove one")
        files[index] = path
    if not files:
        raise UserError(f"{folder} holds no {kind} named by a frame number: name them {example} for frame 12")
    return dict(sorted(files.items()))
