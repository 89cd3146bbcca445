"""Masks from a folder of images, whatever tool wrote them, and the names of the layers that masks make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.masks.gaps import fill_gaps
from atlas.masks.given.layout import UNDERSTOOD, Layout, find_layout
from atlas.masks.given.meaning import Meaning, understood
from atlas.masks.given.pictures import MaskPicture, read_mask_picture
from atlas.storage.pictures import WantedSize
from atlas.system.progress import Progress
from atlas.video.source import FrameSource, fit_image

_METHOD = "masks 2"  # raise it when the same pictures are read differently: clips of them are then prepared again


FOREGROUND = "foreground"
"""Name of the layer of an object that has no name of its own; several are numbered."""


def layer_names(count: int, name: str = FOREGROUND) -> list[str]:
    """Names of `count` object layers, front to back."""
    return [name] if count == 1 else [f"{name}-{number + 1}" for number in range(count)]


@dataclass(frozen=True)
class MaskFolder:
    """Mask source: a folder of masks matched to a source's frames and understood: what is an object in it."""

    folder: Path
    layout: Layout
    meaning: Meaning
    size: tuple[int, int]
    """Width and height of the source."""

    @classmethod
    def parse(cls, text: str, source: FrameSource, indices: list[int]) -> MaskFolder:
        """The masks in the folder of that name, as `open_masks` finds them."""
        return open_masks(Path(text), source, indices)

    @property
    def layers(self) -> list[str]:
        """Names of the objects, front to back."""
        return layer_names(self.objects)

    def masks(self, clip: Clip, *, quiet: bool) -> Iterator[list[np.ndarray]]:
        """Read the masks at the clip's size; all 0 where a frame has none."""
        for index in Progress(range(clip.frames), desc="masks", unit="frame", quiet=quiet):
            yield self.read(index, (clip.width, clip.height))

    def complete(self, clip: Clip) -> dict[str, list[int]]:
        """Fill in masks that are missing, or empty between others, along the flow."""
        return {layer: fill_gaps(clip, layer, self.layout.missing) for layer in clip.objects}

    def digest_parts(self) -> tuple[str | None, list[Path | str]]:
        """How they are read, and the files, frame by frame, of each object."""
        return _METHOD, [path or "none" for column in self.layout.columns for path in column]

    def remarks(self) -> list[str]:
        """What was understood."""
        return [f"{self.folder} was understood as masks: {self.layout.arrangement}, {self.meaning.said}"]

    @property
    def objects(self) -> int:
        """Number of objects, a layer each."""
        return len(self.layout.columns) if len(self.layout.columns) > 1 else self.meaning.count

    def read(self, index: int, size: tuple[int, int]) -> list[np.ndarray]:
        """The masks of all objects in clip frame `index` at `size` (width, height): (H, W) uint8, 255 inside, soft edges."""
        files = [column[index] for column in self.layout.columns]
        if len(files) > 1:  # a picture for each object
            return [fit_image(self._nothing if path is None else self.meaning.whole(self._read(path)), size) for path in files]
        if files[0] is None:
            return [fit_image(self._nothing, size)] * self.objects
        return [fit_image(mask, size) for mask in self.meaning.each(self._read(files[0]))]

    @property
    def _nothing(self) -> np.ndarray:
        return np.zeros(self.size[::-1], np.uint8)

    def _read(self, path: Path) -> MaskPicture:
        return read_mask_picture(path, mask_size(self.size))


def mask_size(size: tuple[int, int]) -> WantedSize:
    """The size that masks must have: width and height of the source."""
    return WantedSize(size[1], size[0], "the source is", "masks must have the size of the source's frames")


def open_masks(folder: Path, source: FrameSource, indices: list[int]) -> MaskFolder:
    """Find and understand the masks of the source's frames `indices` (one for each clip frame).

    Which picture belongs where: `atlas.masks.given.layout`; some may be missing (`atlas.masks.gaps` fills them in). What its
    colours mean: `atlas.masks.given.meaning`. Raises UserError where masks are missing, of another size than the source, all
    empty or all full, or not understood.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder of masks: {UNDERSTOOD}, auto, or box:x,y,w,h")
    layout, size = find_layout(folder, source, indices), (source.width, source.height)
    files = list(dict.fromkeys(path for column in layout.columns for path in column if path is not None))

    def pictures() -> Iterator[MaskPicture]:
        return (read_mask_picture(path, mask_size(size)) for path in files)

    masks = MaskFolder(folder, layout, understood(pictures, str(folder), single=len(layout.columns) > 1), size)
    _refuse_all_full(masks)
    return masks


def _refuse_all_full(masks: MaskFolder) -> None:
    """UserError where every frame is covered to its last pixel."""
    missing = set(masks.layout.missing)
    there = [index for index in range(len(masks.layout.columns[0])) if index not in missing]
    if all(np.min(np.max(masks.read(index, masks.size), axis=0)) == 255 for index in there):
        raise UserError(
            f"{masks.folder}: all masks are full, nothing is left for the background: they must be 0 outside the foreground"
        )
