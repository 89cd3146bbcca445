"""Masks from a folder of images: DAVIS annotations, palette or grey PNGs, mattes."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from atlas.clip.clip import Clip
from atlas.errors import UserError, a_few
from atlas.masks.gaps import LONGEST, bridgeable, fill_gaps
from atlas.storage.images import read_image
from atlas.storage.pictures import WantedSize, picture_bytes, picture_header
from atlas.video.source import FrameSource, fit_image, frame_number, list_images, natural_order

_NUMBERS = 32
"""Values up to this are the numbers of objects, not shades; more different values than this are a soft matte."""
_REGION = 0.3
"""A shade is an object where this share of its pixels lies inside a patch of it; the shades of a soft edge do not."""
_VOID = 255
"""In a palette mask beside other objects: the border that annotators left undecided."""


def layer_names(count: int) -> list[str]:
    """Names of `count` object layers, front to back."""
    return ["foreground"] if count == 1 else [f"foreground-{number + 1}" for number in range(count)]


@dataclass
class MaskFolder:
    """Mask source: a folder of masks matched to a source's frames and understood: what is an object in it."""

    files: list[list[Path | None]]
    """One list for each object folder: the mask of each clip frame, None where it has none."""
    size: tuple[int, int]
    """Width and height of the source."""
    values: list[int] = field(default_factory=list)
    """Pixel values that are an object each; empty where the masks are shades of one object."""
    white: int = 255
    """The shade that is fully inside."""
    alpha: bool = False
    """The mask is the images' alpha channel."""
    palette: bool = False
    """Palette images count by the numbers they store, not by their colours."""

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
        for index in tqdm(range(clip.frames), desc="masks", unit="frame", disable=quiet):
            yield self.read(index, (clip.width, clip.height))

    def complete(self, clip: Clip) -> dict[str, list[int]]:
        """Fill in masks that are missing, or empty between others, along the flow."""
        return {layer: fill_gaps(clip, layer, self.missing(number)) for number, layer in enumerate(clip.objects)}

    def digest_parts(self) -> tuple[str | None, list[Path | str]]:
        """The files, frame by frame, of each object's folder."""
        return None, [path or "none" for column in self.files for path in column]

    @property
    def objects(self) -> int:
        """Number of objects, a layer each."""
        return len(self.files) if len(self.files) > 1 else max(1, len(self.values))

    def read(self, index: int, size: tuple[int, int]) -> list[np.ndarray]:
        """The masks of all objects in clip frame `index` at `size` (width, height): (H, W) uint8, 255 inside, soft edges."""
        if len(self.files) > 1:  # a folder for each object
            return [fit_image(self._shades(self._stored(files[index])), size) for files in self.files]
        plane = self._stored(self.files[0][index])
        if not self.values:
            return [fit_image(self._shades(plane), size)]
        return [fit_image(np.where(plane == value, np.uint8(255), np.uint8(0)), size) for value in self.values]

    def missing(self, number: int) -> list[int]:
        """Clip frames without a mask of object `number`."""
        files = self.files[number if len(self.files) > 1 else 0]
        return [index for index, path in enumerate(files) if path is None]

    def _stored(self, path: Path | None) -> np.ndarray:
        return np.zeros(self.size[::-1], np.uint8) if path is None else _plane(path, self)

    def wanted(self) -> WantedSize:
        """The size that each mask must have."""
        width, height = self.size
        return WantedSize(height, width, "the source is", "masks must have the size of the source's frames")

    def _shades(self, plane: np.ndarray) -> np.ndarray:
        if self.values:  # one object's number
            return np.where(np.isin(plane, self.values), np.uint8(255), np.uint8(0))
        grey = np.clip(plane.astype(np.float32) / self.white, 0, 1) * 255
        grey[grey < 8] = 0  # what lossy compression leaves of black and white
        grey[grey > 247] = 255
        return (grey + 0.5).astype(np.uint8)


def open_masks(folder: Path, source: FrameSource, indices: list[int]) -> MaskFolder:
    """Find and understand the masks of the source's frames `indices` (one for each clip frame).

    Some may be missing (`atlas.masks.gaps` fills them in).
    A mask belongs to the frame of the same name; else of the same number (a video's frames count from 0); a
    folder with exactly as many masks as the source has frames is taken in order. One sub-folder for each object
    is understood too. Values: in a palette image every value but 0 is an object (255 beside others is undecided
    border); in a grey one small numbers are objects, as are several flat shades; anything else is one object with
    soft edges. RGB counts by its luminance; an alpha channel that is used counts alone.
    Raises UserError where masks are missing, of another size than the source, all empty or all full.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder of masks: give a folder, auto, or box:x,y,w,h")
    folders = [folder]
    if not list_images(folder):
        folders = sorted((sub for sub in folder.iterdir() if sub.is_dir() and list_images(sub)), key=natural_order)
    if not folders:
        raise UserError(f"{folder} holds no PNG masks: give a folder with a mask for each frame, auto, or box:x,y,w,h")
    masks = MaskFolder([_matched(sub, source, indices) for sub in folders], (source.width, source.height))
    _understand(masks, folder)
    return masks


def _matched(folder: Path, source: FrameSource, indices: list[int]) -> list[Path | None]:
    """The mask of each clip frame; UserError where more are missing than can be filled in."""
    images = list_images(folder)
    by_stem = {path.stem: path for path in images}
    by_number = {number: path for path in images if (number := frame_number(path)) is not None}

    def named(index: int) -> Path | None:
        if not source.images:
            return by_number.get(index)
        frame = source.images[index]
        number = frame_number(frame)
        return by_stem.get(frame.stem) or (by_number.get(number) if number is not None else None)

    # All frames are looked at, not only those taken: masks that count from 1 fit the first frames by accident.
    if len(images) == source.frames and None in map(named, range(source.frames)):
        return [images[index] for index in indices]
    paths = [named(index) for index in indices]
    missing = [index for index, path in zip(indices, paths, strict=True) if path is None]
    if not bridgeable([path is None for path in paths]):
        names = a_few(source.images[index].name if source.images else index for index in missing)
        raise UserError(
            f"{folder} has no mask for frame {names}: frames need one of the same name or number; at most {LONGEST}"
            " between two that have one may do without"
        )
    return paths


def _understand(masks: MaskFolder, folder: Path) -> None:
    """Look at all masks once: their size, and what their values mean."""
    files = list(dict.fromkeys(path for column in masks.files for path in column if path is not None))
    masks.palette = any(_is_coloured(path, masks.wanted()) for path in files)
    masks.alpha = not masks.palette and any(_uses_alpha(path, masks.wanted()) for path in files)
    total: Counter[int] = Counter()
    inner: Counter[int] = Counter()
    top = 0
    full = True
    for path in files:
        plane = _plane(path, masks)
        values, counts = np.unique(plane, return_counts=True)
        total.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        if len(total) <= 4 * _NUMBERS:
            flat = plane[_inside_patch(plane)]
            inner.update(dict(zip(*(part.tolist() for part in np.unique(flat, return_counts=True)), strict=True)))
        top = max(top, int(np.iinfo(plane.dtype).max))
        full = full and bool(plane.min() > 0)
    total.pop(0, None)
    if not total:
        raise UserError(f"{folder}: all masks are empty: they must be non-zero inside the foreground")
    if masks.palette and len(total) > 1:
        total.pop(_VOID, None)
    numbers = masks.palette or max(total) <= _NUMBERS
    regions = sorted(value for value in total if inner[value] > _REGION * total[value])
    if numbers and not masks.alpha:
        masks.values = sorted(total)
    elif len(total) <= _NUMBERS and len(regions) > 1 and not masks.alpha and len(masks.files) == 1:
        masks.values = regions
    elif len(total) <= _NUMBERS and regions:
        masks.white = max(regions)  # one flat shade, whatever its value, and perhaps a soft edge
    else:
        masks.white = top
    if full and _all_full(masks):
        raise UserError(
            f"{folder}: all masks are full, nothing is left for the background: they must be 0 outside the foreground"
        )


def _all_full(masks: MaskFolder) -> bool:
    """Whether every frame is covered to its last pixel."""
    complete = [index for index in range(len(masks.files[0])) if all(files[index] for files in masks.files)]
    return all(np.min(np.max(masks.read(index, masks.size), axis=0)) == 255 for index in complete)


def _inside_patch(plane: np.ndarray) -> np.ndarray:
    """Pixels whose eight neighbours have their value: (H, W) bool."""
    box = np.ones((3, 3), np.uint8)
    return cv2.erode(plane, box) == cv2.dilate(plane, box)


def _is_coloured(path: Path, size: WantedSize) -> bool:
    """Whether a palette image uses colours: with greys alone it is a grey image made small."""
    if not picture_header(path, size).palette:
        return False
    colours = read_image(path, mode="rgb", size=size)
    return bool((colours != colours[:, :, :1]).any())


def _uses_alpha(path: Path, size: WantedSize) -> bool:
    """Whether a file has an alpha channel that is not opaque throughout."""
    header = picture_header(path, size)
    if header.jpeg or header.palette:
        return False
    image = read_image(path, size=size)
    return image.shape[2] == 4 and bool((image[:, :, 3] < np.iinfo(image.dtype).max).any())


def _plane(path: Path, masks: MaskFolder) -> np.ndarray:
    """The one channel that says what is inside: (H, W) uint8 or uint16."""
    pixels = read_image(path, size=masks.wanted())
    if masks.palette and picture_header(path).palette:
        from PIL import Image  # for palettes alone; commands that read none start without it

        with Image.open(io.BytesIO(picture_bytes(path)[0])) as image:  # the numbers themselves
            return np.array(image)
    if pixels.shape[2] == 4 and masks.alpha:
        return np.ascontiguousarray(pixels[:, :, 3])
    colour = pixels[:, :, :3]
    if (colour == colour[:, :, :1]).all():
        return np.ascontiguousarray(colour[:, :, 0])
    return cv2.cvtColor(np.ascontiguousarray(colour), cv2.COLOR_RGB2GRAY)
