"""One mask as a tool wrote it: its colours, the numbers of a palette, and what is opaque in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from atlas.storage.images import read_image, read_numbers
from atlas.storage.pictures import WantedSize, picture_header

VOID = 255
"""Beside other numbers: the border that annotators left undecided."""
_ENOUGH = 1_000_000  # pixels that are looked at of a picture to understand it


@dataclass(frozen=True)
class MaskPicture:
    """The pixels of a mask that say what is inside."""

    image: np.ndarray
    """(H, W, 1) where all is grey, else (H, W, 3) RGB; uint8 or uint16. Over black where it is transparent."""
    numbers: np.ndarray | None = None
    """(H, W) uint8: of a palette picture that is no cut-out, the numbers of its colours; None of others."""
    palette: np.ndarray | None = None
    """(256, 3) uint8: the colours of these numbers."""
    alpha: np.ndarray | None = None
    """(H, W) uint8 or uint16, where the file has it."""
    lossy: bool = False
    """Flat areas are not quite even, as JPEG and films leave them."""

    @property
    def is_cut_out(self) -> bool:
        """Whether anything is transparent in it."""
        return self.alpha is not None and int(self.alpha.min()) < np.iinfo(self.alpha.dtype).max

    def sample(self) -> MaskPicture:
        """Every so many pixels of a large picture, enough to see what is in it."""
        step = max(1, math.ceil(math.sqrt(self.image.shape[0] * self.image.shape[1] / _ENOUGH)))
        numbers, alpha = (None if plane is None else plane[::step, ::step] for plane in (self.numbers, self.alpha))
        return replace(self, image=np.ascontiguousarray(self.image[::step, ::step]), numbers=numbers, alpha=alpha)


def read_mask_picture(path: Path, size: WantedSize) -> MaskPicture:
    """Read a mask; UserError where it is no picture or of another size."""
    header = picture_header(path, size)
    if header.palette:
        numbers, colours = read_numbers(path, size)
        shown = np.unique(numbers).tolist()
        clear = [number for number in shown if colours[number, 3] < 255]
        if not clear and not colours[:, :3].any():  # numbers alone, without a palette
            return MaskPicture(numbers[..., None])
        if not clear or clear == [0] and are_labels({number: tuple(colours[number, :3].tolist()) for number in shown}):
            return MaskPicture(_grey_as_one(colours[numbers, :3]), numbers, colours[:, :3])
    image = read_image(path, size=size)
    if image.shape[2] < 4:
        return MaskPicture(_grey_as_one(image), lossy=header.jpeg)
    alpha = np.ascontiguousarray(image[..., 3])
    seen = alpha > np.iinfo(alpha.dtype).max // 2
    return MaskPicture(_grey_as_one(image[..., :3] * seen[..., None].astype(image.dtype)), alpha=alpha)


def are_labels(palette: Mapping[int, tuple[int, ...]]) -> bool:
    """Whether these are the colours that PASCAL VOC and DAVIS give to numbers; the undecided border may have any."""
    return all(_is_label(number, colour) for number, colour in palette.items() if number != VOID)


def _is_label(number: int, colour: tuple[int, ...]) -> bool:
    """Whether PASCAL VOC gives a number this colour, its bits shared out among the channels; or DAVIS, grey after the first."""
    bits = [sum((number >> 3 * bit + channel & 1) << 7 - bit for bit in range(3)) for channel in range(3)]
    is_voc = max(abs(one - other) for one, other in zip(bits, colour, strict=True)) <= 1  # 191 is written for 192
    return is_voc or (number > 21 and set(colour) == {number})


def film_picture(frame: np.ndarray) -> MaskPicture:
    """A mask that is a frame of a film, (H, W, 3)."""
    return MaskPicture(_grey_as_one(frame, 2), lossy=True)


def _grey_as_one(image: np.ndarray, tolerance: int = 0) -> np.ndarray:
    if image.shape[2] == 1:
        return image
    planes = cv2.split(np.ascontiguousarray(image))
    if all(int(cv2.absdiff(plane, planes[0]).max()) <= tolerance for plane in planes[1:]):
        return planes[0][..., None]
    return np.ascontiguousarray(image)
