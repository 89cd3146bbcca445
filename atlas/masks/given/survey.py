"""A survey of all masks: which colours are there, how much of each lies inside even areas, and what borders on what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from atlas.masks.given.pictures import VOID, MaskPicture, are_labels

SMALL_NUMBERS = 32
"""Grey values up to this are the numbers of objects, not shades."""
REGION = 0.3
"""A colour of which less lies inside patches is no region but edges."""
_MOST_COLOURS = 64
"""Pictures of more different colours have soft edges, or come from a lossy file."""
_UNEVEN = 12  # levels of 256 by which the pixels of an even area differ in a lossy file
_EVEN = 0.6  # share of a mask that lies inside even areas
_EXACT_REACH, _ROUGH_REACH = 3, 40  # levels within which colours are one
_NEAR = 8  # levels that pixels of an even area are from its colour
_STEP = 24  # levels in which colours are put in order
_BITS = 5  # of each channel, in which colours of rough pictures are counted
_LEAST = 2e-4  # of all even pixels: what has less is no colour of a rough picture
_BOX = np.ones((3, 3), np.uint8)


@dataclass
class Census:
    """First look: counts the colours of masks."""

    exact: Counter[tuple[int, ...]] | None = field(default_factory=Counter)
    """Pixels of each colour inside even areas (0 for those that are nowhere inside one); None where there are too many."""
    totals: Counter[tuple[int, ...]] = field(default_factory=Counter)
    """All pixels of each of these colours."""
    lossy: bool = False
    coloured: bool = False
    alpha: bool = False
    top: int = 255
    palette: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """The numbers that are there, and their colours."""
    _same_palette: bool = True
    _pixels: int = 0
    _rough: np.ndarray = field(default_factory=lambda: np.zeros((1 << 3 * _BITS, 4)))  # pixels, and sums of their colours

    def add(self, picture: MaskPicture) -> None:
        """Count a mask."""
        self._note_numbers(picture)  # also those that only few pixels have
        picture = picture.sample()
        image = picture.image
        self.lossy |= picture.lossy
        self.coloured |= image.shape[2] == 3
        self.alpha |= picture.is_cut_out
        self.top = max(self.top, int(np.iinfo(image.dtype).max))
        uneven = (cv2.dilate(image, _BOX).astype(np.int32) - cv2.erode(image, _BOX)).reshape(*image.shape).max(-1)
        codes, self._pixels = _packed(image), self._pixels + uneven.size
        if self.exact is not None and not self.lossy:
            self._count(codes, codes[uneven == 0])
        scale = int(np.iinfo(image.dtype).max) // 255
        self._count_roughly(*np.unique(codes[uneven <= _UNEVEN * scale], return_counts=True), scale)

    def _count(self, codes: np.ndarray, inside: np.ndarray) -> None:
        assert self.exact is not None
        for code, count in zip(*(part.tolist() for part in np.unique(codes, return_counts=True)), strict=True):
            self.exact.setdefault(_unpacked(code), 0)
            self.totals[_unpacked(code)] += count
        for code, count in zip(*(part.tolist() for part in np.unique(inside, return_counts=True)), strict=True):
            self.exact[_unpacked(code)] += count
        if len(self.exact) > _MOST_COLOURS:
            self.exact = None

    def _count_roughly(self, codes: np.ndarray, counts: np.ndarray, scale: int) -> None:
        colours = np.stack([codes >> 32, codes >> 16 & 0xFFFF, codes & 0xFFFF], -1) // scale
        steps = colours >> (8 - _BITS)
        bins = (steps[:, 0] << 2 * _BITS) + (steps[:, 1] << _BITS) + steps[:, 2]
        for place, weights in enumerate((counts, *(counts * colours.T))):
            self._rough[:, place] += np.bincount(bins, weights, len(self._rough))

    def _note_numbers(self, picture: MaskPicture) -> None:
        if picture.numbers is None:
            # A frame without objects may be of any kind.
            self._same_palette &= not (picture.lossy or picture.is_cut_out or picture.image.any())
        elif self._same_palette:
            assert picture.palette is not None
            for number in np.flatnonzero(np.bincount(picture.numbers.ravel(), minlength=256)).tolist():
                colour = tuple(picture.palette[number].tolist())
                self._same_palette &= self.palette.setdefault(number, colour) == colour

    @property
    def numbered(self) -> bool:
        """Whether all are palette pictures, a number is the same colour in all, and some colour is not grey."""
        return self._same_palette and self.coloured

    @property
    def labelled(self) -> bool:
        """Whether the colours are those that PASCAL VOC and DAVIS give to numbers: all are objects, however they lie."""
        return self.numbered and are_labels(self.palette)

    @property
    def counted(self) -> bool:
        """Whether all are grey, and but for the undecided border so dark that they are numbers of objects, not shades."""
        if not self.is_exact or self.coloured:
            return False
        assert self.exact is not None
        numbers = [colour for colour in self.exact if 0 < colour[0] != VOID]
        if any(colour[0] > SMALL_NUMBERS for colour in numbers):
            return False
        inside, total = (sum(counts[colour] for colour in numbers) for counts in (self.exact, self.totals))
        return inside > REGION * total or not any(colour[0] == VOID for colour in self.exact)  # else what noise left of black

    @property
    def is_picture(self) -> bool:
        """Whether it is a picture of something, not a mask: of many colours, and hardly even anywhere."""
        return self.coloured and not self.is_exact and self._rough[:, 0].sum() < _EVEN * self._pixels

    @property
    def is_exact(self) -> bool:
        """Whether each colour stands for itself."""
        return self.exact is not None and not self.lossy

    def colours(self) -> np.ndarray:
        """The colours to tell apart, (K, 3) float in [0, 255] of the masks' depth (numbers of a palette in their order)."""
        if self.numbered:
            return np.array([self.palette[number] for number in sorted(self.palette)], float)
        if self.is_exact:
            assert self.exact is not None
            colours = np.array([colour[::-1] for colour in sorted(colour[::-1] for colour in self.exact)], float)
            weights = np.array([self.exact[tuple(int(value) for value in colour)] for colour in colours])
            totals = np.array([self.totals[tuple(int(value) for value in colour)] for colour in colours])
            reach = 0 if self.counted or self.top > 255 else _EXACT_REACH  # numbers are near each other
            return _merged(colours, weights, reach, regions=(weights > REGION * totals) & (not self.coloured))
        counts = self._rough[:, 0]
        there = np.flatnonzero(counts > _LEAST * counts.sum())
        colours = self._rough[there, 1:] / counts[there, None]
        return _merged(colours, counts[there], _ROUGH_REACH) * (self.top // 255)


def _merged(colours: np.ndarray, weights: np.ndarray, reach: float, regions: np.ndarray | None = None) -> np.ndarray:
    """Colours without those that a weightier one within `reach` stands for; in the order of blue, green, red.

    regions: (K,) bool, those that stand for themselves.
    """
    kept: list[np.ndarray] = []
    for place in np.argsort(-weights, kind="stable"):
        if (regions is not None and regions[place]) or all(np.abs(colours[place] - other).max() > reach for other in kept):
            kept.append(colours[place])
    # In steps first: what a lossy file does to a colour's blue must not change the order of objects.
    return np.array(sorted(kept, key=lambda colour: (tuple(np.round(colour[::-1] / _STEP)), tuple(colour[::-1]))))


@dataclass
class Neighbours:
    """Second look: how the colours of a census lie in the masks."""

    colours: np.ndarray  # (K, 3)
    numbers: list[int] | None = None
    """Of a palette, the number of each colour."""

    def __post_init__(self) -> None:
        count = len(self.colours)
        self.total, self.inside, self.rim, self.near = (np.zeros(count, np.int64) for _ in range(4))
        self.borders = np.zeros((count, count), np.int64)
        """Pairs of neighbouring pixels of two colours. Above: all pixels of a colour, those inside a patch of it, those at the
        frame's border, and those that hardly differ from it."""

    def add(self, picture: MaskPicture) -> None:
        """Take in a mask."""
        picture = picture.sample()
        labels, count = colour_labels(picture, self.colours, self.numbers), len(self.colours)
        even = cv2.dilate(labels, _BOX) == cv2.erode(labels, _BOX)
        self.total += np.bincount(labels.ravel(), minlength=count)
        if self.numbers is None:
            apart = np.abs(picture.image - self.colours.astype(np.float32)[labels][..., : picture.image.shape[2]]).max(-1)
            near = apart <= _NEAR * (int(np.iinfo(picture.image.dtype).max) // 255)
            self.near += np.bincount(labels[near], minlength=count)
        self.inside += np.bincount(labels[even], minlength=count)
        edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        self.rim += np.bincount(edge, minlength=count)
        for one, other in ((labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1])):
            pairs = np.bincount(one.ravel().astype(np.int64) * count + other.ravel(), minlength=count * count)
            self.borders += pairs.reshape(count, count) + pairs.reshape(count, count).T


def colour_labels(picture: MaskPicture, colours: np.ndarray, numbers: Sequence[int] | None) -> np.ndarray:  # (H, W) uint8
    """Number the colour (of (K, 3)) of each pixel: by the palette's own number, where a palette has these `numbers`, else the
    nearest."""
    if numbers is not None and picture.numbers is not None:
        return np.searchsorted(numbers, picture.numbers).astype(np.uint8)
    return nearest_colour(picture.image, colours)


def nearest_colour(image: np.ndarray, colours: np.ndarray) -> np.ndarray:  # (H, W) uint8
    """Number the colour (of (K, 3)) that is nearest to each pixel of (H, W, 1|3)."""
    labels, left = np.zeros(image.shape[:2], np.uint8), np.ones(image.shape[:2], bool)
    channels = image.shape[2]
    for number, colour in enumerate(colours.tolist()):
        if channels == 3 or len(set(colour)) == 1:
            same = cv2.inRange(image, tuple(colour[:channels]), tuple(colour[:channels])) > 0
            labels[same], left[same] = number, False
    if not left.any():
        return labels
    others = image[left]
    codes, place, which = np.unique(_packed(others), return_index=True, return_inverse=True)
    shown = np.broadcast_to(others[place], (len(place), 3)).astype(float)
    nearest = np.empty(len(codes), np.uint8)
    for start in range(0, len(codes), 4096):
        part = shown[start : start + 4096, None]
        nearest[start : start + 4096] = np.square(part - colours).sum(-1).argmin(1)
    labels[left] = nearest[which.ravel()]
    return labels


def _packed(image: np.ndarray) -> np.ndarray:  # (..., 1|3) -> (...) int64
    wide = image.astype(np.int64)
    return wide[..., 0] * ((1 << 32) + (1 << 16) + 1) if image.shape[-1] == 1 else wide @ np.array([1 << 32, 1 << 16, 1])


def _unpacked(code: int) -> tuple[int, ...]:
    return code >> 32, code >> 16 & 0xFFFF, code & 0xFFFF
