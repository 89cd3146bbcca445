"""Images of an atlas's size in a file: as many as an edit has keyframes, in the memory of a few."""

from __future__ import annotations

import copy
import math
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeAlias, overload

import numpy as np
import torch
from torch import Tensor

from atlas.errors import UserError
from atlas.geometry.boxes import EMPTY, Box, box_within, sides_of

FEW = 12
"""So many keyframes are compared all with all and held at once; of more, each is compared with some, or a choice is held."""
_ALL = slice(None)


@dataclass(frozen=True)
class _Part:
    """What the file holds of an image: where it begins there, and which box of the image it is."""

    start: int
    box: Box


class ImageStack:
    """K images of one shape, (H, W) or (H, W, C) float32, in a file: written one by one, indexed like a tensor of them.

    `stack[k]` is one image, `stack[:, rows]` and `stack[:, rows, columns]` are parts of all, `stack[[k, m]]` is a stack of
    some. Of each image the file holds a box; the rest is 0. In a `with` block the file is deleted at the end.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], expected: int, device: torch.device | str = "cpu") -> None:
        """shape: of one image; expected: how many there will be, for which the disk must have room."""
        self._path, self._image, self._expected, self._device = path, shape, expected, device
        self._parts: list[_Part] = []
        self._end = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("w+b")
        self._turn = threading.Lock()  # of those who move to a place of the stream and read or write there

    def __enter__(self) -> ImageStack:
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._stream.close()
        finally:
            self._path.unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self._parts)

    @property
    def shape(self) -> tuple[int, ...]:
        """(K, H, W) or (K, H, W, C)."""
        return len(self), *self._image

    def append(self, image: Tensor, box: Box | None = (_ALL, _ALL)) -> None:
        """Write the next image, of which only `box` is kept (None: nothing). UserError where the disk has no room for all."""
        part = _Part(self._end, self._whole(box or EMPTY))
        size = 4 * math.prod(self._shape(part))
        self._check_room(size)
        self._write(part, image)
        self._parts.append(part)
        self._end += size

    def __setitem__(self, number: int, image: Tensor) -> None:
        """Replace an image, within the box that is kept of it."""
        self._write(self._parts[number], image)

    @overload
    def __getitem__(self, index: int | tuple[slice, slice] | tuple[slice, slice, slice]) -> Tensor: ...

    @overload
    def __getitem__(self, index: list[int]) -> ImageStack: ...

    def __getitem__(self, index: int | list[int] | tuple[slice, ...]) -> Tensor | ImageStack:
        if isinstance(index, list):
            chosen = copy.copy(self)
            chosen._parts = [self._parts[number] for number in index]
            return chosen
        if isinstance(index, tuple):
            assert index[0] == _ALL, "parts are taken of all images"
            columns = index[2] if len(index) > 2 else _ALL
            return self._read(self._parts, (index[1], columns))
        return self._read([self._parts[index]], (_ALL, _ALL))[0]

    def _whole(self, box: Box) -> Box:
        """Give the ends of a box's slices as numbers."""
        rows, columns = (slice(*side.indices(length)[:2]) for side, length in zip(box, self._image, strict=False))
        return rows, columns

    def _shape(self, part: _Part) -> tuple[int, ...]:
        return (*sides_of(part.box), *self._image[2:])

    def _check_room(self, size: int) -> None:
        """UserError where the disk is too full for the images to come, if they are as large as this one."""
        needed, free = size * (self._expected - len(self)), shutil.disk_usage(self._path.parent).free
        if needed > free:
            raise UserError(
                f"the disk of {self._path.parent.parent} has {free // 10**6:,} MB free, and {self._expected} keyframes need "
                f"{-(-needed // 10**6):,} MB while they are merged: free some space, or take fewer keyframes"
            )

    def _write(self, part: _Part, image: Tensor) -> None:
        stored = np.ascontiguousarray(image[part.box].cpu().numpy(), np.float32).data
        with self._turn:
            self._stream.seek(part.start)
            self._stream.write(stored)

    def _read(self, parts: list[_Part], box: Box) -> Tensor:  # (K, h, w) or (K, h, w, C)
        box = self._whole(box)
        images = np.empty((len(parts), *sides_of(box), *self._image[2:]), np.float32)
        with self._turn:
            self._stream.flush()
            for image, part in zip(images, parts, strict=True):
                common = _common(box, part.box)
                if common != box:
                    image[:] = 0
                if common:
                    self._read_into(image[box_within(common, box)], part, *box_within(common, part.box))
        return torch.from_numpy(images).to(self._device)

    def _read_into(self, image: np.ndarray, part: _Part, rows: slice, columns: slice) -> None:
        """Read rows and columns of what is stored of an image. Whole rows lie together and take one call."""
        shape = self._shape(part)
        if columns != slice(0, shape[1]):  # the map lives for this call alone, and with it the pages that it brings in
            image[:] = np.memmap(self._path, np.float32, "r", part.start, shape)[rows, columns]
            return
        self._stream.seek(part.start + 4 * rows.start * math.prod(shape[1:]))
        if image.flags.c_contiguous:
            self._stream.readinto(image.data.cast("B"))
        else:
            stored = np.empty(image.shape, np.float32)
            self._stream.readinto(stored.data.cast("B"))
            image[:] = stored


Images: TypeAlias = Tensor | ImageStack
"""Images (K, H, W) or (K, H, W, C) in memory or in a file: what merging reads of them is the same."""


def _common(one: Box, other: Box) -> Box | None:
    """Intersect two boxes; None where they have nothing in common."""
    rows, columns = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None
