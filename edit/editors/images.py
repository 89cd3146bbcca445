"""Keyframes that were edited elsewhere: a folder of images named by frame number."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from atlas.errors import UserError
from atlas.storage.images import read_image, to_float
from atlas.storage.pictures import WantedSize
from atlas.storage.stamps import digest
from edit.editors.protocol import Keyframe

_NUMBERED = re.compile(r"(?:.*\D)?(\d+)\.(?:png|jpg|jpeg)", re.IGNORECASE)


class ImagesEditor:
    """Follows `KeyframeEditor`. Images must have the frames' size; alpha, where there is one, says where the edit applies."""

    def __init__(self, folder: Path, width: int, height: int, option: str = "--images") -> None:
        if not folder.is_dir():
            raise UserError(f"{option} {folder} is not a folder: give the folder with the images of the keyframes")
        self.folder, self.width, self.height = folder, width, height
        self.files = _numbered_images(folder)

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

    def fingerprint(self, indices: list[int]) -> str:
        """Digest of the images' bytes."""
        return digest(*(self.files[index] for index in indices))

    def edit(self, keyframe: Keyframe) -> np.ndarray:
        """The image of this frame number as (H, W, 4) float32."""
        return to_float(self.read(keyframe.index))

    def read(self, index: int) -> np.ndarray:
        """The image of this frame number as stored, (H, W, 4)."""
        advice = "edit the images of the clip's frames/ folder without scaling or cropping them"
        size = WantedSize(self.height, self.width, "the clip's frames are", advice)
        return read_image(self.files[index], mode="rgba", size=size)


def _numbered_images(folder: Path) -> dict[int, Path]:
    """Images by the last number of their name, sorted; UserError where there are none or two of a number."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        match = _NUMBERED.fullmatch(path.name)
        if path.name.startswith(".") or not path.is_file() or match is None:
            continue
        index = int(match[1])
        if index in found:
            raise UserError(f"{folder} has two images of keyframe {index} ({found[index].name}, {path.name}): remove one")
        found[index] = path
    if not found:
        raise UserError(f"{folder} holds no image named by a frame number: name them 00012.png for frame 12")
    return dict(sorted(found.items()))
