"""What the colours of masks mean: which is the ground, which are objects, which only the shades of their edges.

Tools write masks as numbers of objects, as a colour for each, as white on black, as mattes; and what passed through an image
editor has any ground, and edges that are mixtures of what they lie between. What is told apart here:

    ground   black; else, or where black is nowhere at the frame's border and another colour all along it, what lies there
    shade    a mixture of two other colours that lies between them, in bands too thin for an object
    object   any other colour. Where there is one, how far a pixel is on the way from the ground to it is its opacity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np

from atlas.errors import UserError
from atlas.geometry.filling import nearest_seen
from atlas.masks.given.layout import UNDERSTOOD
from atlas.masks.given.pictures import VOID, MaskPicture
from atlas.masks.given.survey import REGION, Census, Neighbours, colour_labels

_MOST_OBJECTS = 32
_BOX, _AROUND = np.ones((3, 3), np.uint8), np.ones((5, 5), np.uint8)
_NARROW = 0.8
"""Share inside patches below which a colour may be bands of edges."""
_FEW = 8
"""Colours of masks of objects and of their thin edges: blurred ones, whose edges are bands, have more."""
_BETWEEN, _CLEARLY = 0.1, 0.35
"""Share of a shade's border that lies towards either side of the mixture: of thin ones, and of bands."""
_MIXED = 24.0  # levels of 256 beside the straight line between two colours, for what may be a mixture of them
_DARK = 24  # levels: what a lossy file leaves of black
_ALONG = 0.02  # share of the border below which black is not the ground
_EVEN = 0.5  # share of an object of a rough mask that has its colour: else it is a step of a matte

Pictures = Callable[[], Iterable[MaskPicture]]


@dataclass(frozen=True)
class Meaning:
    """How masks are read: what `understood` found in all of them."""

    colours: np.ndarray
    """(K, 3) that pixels are told apart by; of numbers of a palette, those of `numbers`."""
    objects: tuple[int, ...]
    """Which of the colours are objects, in order; empty where opacity is all that there is."""
    ground: np.ndarray
    """(3,)"""
    full: np.ndarray
    """(3,) the colour that is fully inside, where there is one object."""
    soft: bool
    """One object whose edges may be soft."""
    shades: tuple[int, ...] = ()
    mixtures: tuple[int, ...] = ()
    """Colours of objects or of the ground that edges between two others may have too."""
    numbers: tuple[int, ...] | None = None
    alpha: bool = False
    """The alpha channel is the mask."""
    said: str = ""
    """What was understood, in a few words."""

    @property
    def count(self) -> int:
        """Number of objects."""
        return 1 if self.soft else len(self.objects)

    def each(self, picture: MaskPicture) -> list[np.ndarray]:
        """The masks of all objects in a picture, (H, W) uint8, 255 inside."""
        if self.soft:
            return [self._opacity(picture)]
        labels = self._labels(picture)
        return [np.where(labels == number, np.uint8(255), np.uint8(0)) for number in self.objects]

    def whole(self, picture: MaskPicture) -> np.ndarray:  # (H, W) uint8
        """The mask of all that is not ground: of an object with pictures of its own."""
        return np.max(self.each(picture), axis=0)

    def _opacity(self, picture: MaskPicture) -> np.ndarray:
        if self.alpha:
            plane = picture.image.max(-1) if picture.alpha is None else picture.alpha
            share = plane / (np.iinfo(plane.dtype).max * self.full[0])
        else:
            way = self.full - self.ground
            colours = picture.image.astype(np.float32) - self.ground.astype(np.float32)
            share = colours @ way.astype(np.float32) if picture.image.shape[2] == 3 else colours.sum(-1) * way[0]
            share = share / np.float32(way @ way)
        grey = np.rint(np.clip(share, 0, 1) * 255)
        grey[grey < 8] = 0  # what lossy compression leaves of black and white
        grey[grey > 247] = 255
        return grey.astype(np.uint8)

    def _labels(self, picture: MaskPicture) -> np.ndarray:
        labels = colour_labels(picture, self.colours, self.numbers)
        edges = np.isin(labels, self.shades) | _specks(labels, self.mixtures)
        if edges.any() and not edges.all():
            labels = labels.ravel()[nearest_seen(~edges)[1]]
        return labels


def _specks(labels: np.ndarray, numbers: tuple[int, ...]) -> np.ndarray:  # (H, W) uint8 -> (H, W) bool
    """Where one of these labels is not near a patch of itself."""
    specks = np.zeros(labels.shape, bool)
    if numbers:
        patch = cv2.dilate(labels, _BOX) == cv2.erode(labels, _BOX)
        for number in numbers:
            its = labels == number
            specks |= its & (cv2.dilate((its & patch).astype(np.uint8), _AROUND) == 0)
    return specks


def understood(pictures: Pictures, name: str, *, single: bool = False) -> Meaning:
    """Understand masks by looking at all of them, twice. single: each picture is of one object alone.

    UserError, which names them by `name`, where all are empty or full, or they are pictures rather than masks.
    """
    census = Census()
    for picture in pictures():
        census.add(picture)
    if census.alpha:
        return _of_alpha(pictures, census, name, single)
    numbers = sorted(census.palette) if census.numbered else None
    neighbours = Neighbours(census.colours(), numbers)
    if census.is_picture or (census.coloured and len(neighbours.colours) > 2 * _MOST_OBJECTS):
        raise UserError(
            f"{name} are pictures of many colours, no masks: {UNDERSTOOD}; of one colour on black, or a colour each"
        )
    for picture in pictures():
        neighbours.add(picture)
    return _decided(census, neighbours, name, single)


def _decided(census: Census, found: Neighbours, name: str, single: bool) -> Meaning:
    colours, scale = found.colours, census.top // 255
    there = [number for number in range(len(colours)) if found.total[number] or census.labelled]  # a sample misses small ones
    ground = _ground(census, found, there, _DARK * scale if not census.is_exact else 0)
    if len(there) < 2:
        raise _nothing(name, empty=not len(there) or not colours[there[0]].any())
    others = [number for number in there if number != ground]
    is_count = census.counted or census.labelled
    if (census.numbered or census.counted) and len(others) > 1:
        others = [number for number in others if _number(found, number) != VOID]
    shades = [] if is_count else [number for number in others if _is_shade(census, found, number, there, _MIXED * scale)]
    objects = [number for number in others if number not in shades]
    may_be_edges = shades or census.alpha or not (census.numbered or census.coloured)
    if not is_count and len(objects) > 1 and may_be_edges:
        regions = [number for number in objects if found.inside[number] > REGION * found.total[number]]
        shades, objects = shades + [number for number in objects if number not in regions], regions
    if not census.is_exact and len(objects) > 1:
        even = [number for number in objects if found.near[number] > _EVEN * found.total[number]]
        objects = even or [max(objects, key=lambda number: _distance(colours, number, ground))]
    if len(objects) > _MOST_OBJECTS:
        raise UserError(f"{name} have {len(objects)} colours, more than objects can be told apart: {UNDERSTOOD}")
    soft = len(objects) < 2 and not (is_count or (census.numbered and not shades))
    full = colours[objects[0]] if objects else _brightest(census, colours, others, ground)
    said = _said(census, found, ground, objects, bool(shades) or not census.is_exact, single)
    numbers = None if found.numbers is None else tuple(found.numbers)
    regions = [*objects, ground] if shades or not census.is_exact else []
    mixed = tuple(number for number in regions if _is_mixture(colours, number, regions, _MIXED * scale))
    return Meaning(colours, tuple(objects), colours[ground], full, soft, tuple(shades), mixed, numbers, said=said)


def _number(found: Neighbours, number: int) -> int:
    """The number that masks themselves have for a colour: of a palette, else of grey."""
    return found.numbers[number] if found.numbers is not None else int(found.colours[number, 0])


def _ground(census: Census, found: Neighbours, there: list[int], dark: float) -> int:
    """The colour that is nothing: black, or what lies along the frame's border."""
    if census.labelled and 0 in census.palette:
        return 0
    rim = found.rim / max(int(found.rim.sum()), 1)
    along = int(np.argmax(rim))
    black = [number for number in there if found.colours[number].max() <= dark]
    if not black:
        return along
    nothing = max(black, key=lambda number: rim[number])
    is_grey = not census.coloured
    return nothing if is_grey or rim[nothing] >= _ALONG or rim[along] < 1 - _ALONG else along


def _is_shade(census: Census, found: Neighbours, number: int, there: list[int], beside: float) -> bool:
    """Whether a colour is a mixture of two others, and lies between them."""
    share = found.inside[number] / max(int(found.total[number]), 1)
    if share >= (REGION if census.is_exact and len(there) <= _FEW else _NARROW):
        return False
    least = _BETWEEN if share < REGION else _CLEARLY
    border = found.borders[number].astype(float)
    border[number] = 0
    larger = [other for other in there if _weight(found, other) > _weight(found, number)]
    for one, other in combinations(larger, 2):
        along = _along(found.colours, one, other)
        towards = min(border[along < along[number]].sum(), border[along > along[number]].sum())
        if towards >= least * border.sum() and _is_mixture(found.colours, number, [one, other], beside):
            return True
    return False


def _is_mixture(colours: np.ndarray, number: int, others: list[int], beside: float) -> bool:
    """Whether a colour is on the straight line between two of the others."""
    for one, other in combinations([other for other in others if other != number], 2):
        share = _along(colours, one, other)[number]
        mixed = colours[one] + share * (colours[other] - colours[one])
        if 0.02 < share < 0.98 and np.linalg.norm(colours[number] - mixed) <= beside:
            return True
    return False


def _along(colours: np.ndarray, one: int, other: int) -> np.ndarray:  # (K,)
    """How far all colours are on the way from one to another."""
    way = colours[other] - colours[one]
    return (colours - colours[one]) @ way / max(float(way @ way), 1e-9)


def _weight(found: Neighbours, number: int) -> tuple[int, int]:
    return int(found.inside[number]), int(found.total[number])


def _distance(colours: np.ndarray, number: int, ground: int) -> float:
    return float(np.abs(colours[number] - colours[ground]).max())


def _brightest(census: Census, colours: np.ndarray, others: list[int], ground: int) -> np.ndarray:
    """Where no area is even: the farthest colour from the ground, as strong as it can be."""
    farthest = max(others, key=lambda number: _distance(colours, number, ground))
    way = colours[farthest] - colours[ground]
    return colours[ground] + way * (census.top / max(float(np.abs(way).max()), 1e-9))


def _of_alpha(pictures: Pictures, census: Census, name: str, single: bool) -> Meaning:
    """Cut-outs: the alpha channel is the mask, unless what is opaque has a flat colour for each object."""
    colours = census.colours()
    if census.is_exact and not single and 3 <= len(colours) <= _MOST_OBJECTS:
        neighbours = Neighbours(colours)
        for picture in pictures():
            neighbours.add(picture)
        meaning = _decided(census, neighbours, name, single)
        if meaning.count > 1:
            return meaning
    strongest = max((int(p.alpha.max()) / np.iinfo(p.alpha.dtype).max for p in pictures() if p.alpha is not None), default=1.0)
    if not strongest:
        raise _nothing(name, empty=True)
    black = np.zeros(3)
    return Meaning(np.zeros((1, 3)), (), black, np.full(3, strongest), True, alpha=True, said="the alpha channel is the mask")


def _nothing(name: str, *, empty: bool) -> UserError:
    if empty:
        return UserError(f"{name}: all masks are empty: they must be non-zero inside the foreground")
    return UserError(f"{name}: all masks are full, nothing is left for the background: they must be 0 outside the foreground")


def _said(census: Census, found: Neighbours, ground: int, objects: list[int], soft: bool, single: bool) -> str:
    named = found.numbers[ground] if found.numbers is not None else None
    colour = tuple(int(round(value * 255 / census.top)) for value in found.colours[ground])
    base = "black" if max(colour) <= (0 if census.is_exact else _DARK) else f"colour {colour[0]},{colour[1]},{colour[2]}"
    base = f"number {named} ({base})" if named is not None else base
    edges = " with soft edges" if soft else ""
    if single or len(objects) < 2:
        return f"one object{edges} on {base}" if not single else f"objects{edges} on {base}"
    kind = "numbers" if found.numbers is not None or census.counted else "colours"
    return f"{len(objects)} objects by their {kind} on {base}" + (", edges go to the nearest" if soft else "")
