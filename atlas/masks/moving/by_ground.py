"""Evidence of what is foreground by background subtraction: how a frame differs from the ground behind it, where that is seen.

Flow spreads a motion beyond the edge of what moves, and a foot that stands is still: the ground itself, known from other
frames, tells both. A pixel is the ground's if it has the colour of its very place, or that colour in a shade, and counts
for the foreground as far as that has its colour more often. Where no frame shows the ground, motion and colours decide alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from atlas.masks.moving.along import Averages
from atlas.masks.moving.behind.plate import Ground, Plate, Plates, background_plate
from atlas.masks.moving.by_colour import BINS, colour_number, colour_odds, colour_shares, colours, scored
from atlas.masks.moving.cut import Cut, HalfClip, PerFrame, cut_out
from atlas.masks.moving.evidence import Footage
from atlas.masks.moving.parts import MainParts
from atlas.masks.moving.plain import hollows
from atlas.storage.stack import RowStack
from atlas.system.parallel import in_order, one_thread
from atlas.system.progress import Progress

_SCORE = 0.75
"""What scores count for where the ground is known."""
_CLEAREST = 4.0
"""Where the logarithm of odds is clipped."""
_SHADED, _CHANGED = 0.1, 0.05
"""How often ground is in a shade, and how often it is not as other frames show it."""
_SHADES = tuple(np.linspace(0.3, 0.9, 9).tolist())
_NOISE, _SPREADS, _OFF = 4.0, 1.5, 0.5
"""Deviation from the plate: in colour steps, in spreads of the frames it is made from, and in pixels."""
_MARGIN = 0.008
"""Longer sides by which the foreground might be larger than it was found."""
_ROUNDS = 3
_SCORE_MEMORY, _MEMORY, _EDGE = 0.9, 0.5, 5.0
_CELL = (256 / BINS) ** 3
_LEAST = 1e-7


def cut_by_ground(clip: Footage, half: HalfClip, first: Cut, parts: MainParts, plates: Plates, *, quiet: bool) -> Cut:
    """Cut out the foreground of a clip by scores, colours and the ground behind it.

    first: what was found without that; plates: are filled with what is found of the ground.
    """
    hollow, ground = _around(clip, half, parts)
    known = _look_behind(clip, half, ground.__getitem__, plates, quiet=quiet)
    scores = Averages(
        half.scratch / "half motion",
        lambda index: np.where(hollow[index], 0, scored(half.score(index)))[..., None],
        (*half.scores.shape, 1),
        half.flows,
        _SCORE_MEMORY,
        half.flows.trust,
    )

    def unseen(index: int) -> np.ndarray:
        return first.still(index) & ~hollow[index] & ~known.seen(index)

    cut = first
    for _ in range(_ROUNDS):
        shares = colour_shares(half, cut.inside.__getitem__)
        cut = _cut_by(half, shares, known, scores, first.still, unseen)
    return cut


def _cut_by(
    half: HalfClip, shares: tuple[np.ndarray, np.ndarray], known: _Known, scores: Averages, still: PerFrame, unseen: PerFrame
) -> Cut:
    odds = colour_odds(shares)

    def evidence(index: int) -> np.ndarray:
        number = colour_number(half.frame(index))
        as_plate, shaded = known.likely(index)
        ground = (1 - _SHADED - _CHANGED) * as_plate + _SHADED * shaded + _CHANGED * shares[1][number]
        by_ground = np.clip(np.log(shares[0][number] / ground), -_CLEAREST, _CLEAREST)
        motion, seen = scores[index][..., 0], known.seen(index)
        return np.where(seen, _SCORE * motion + by_ground, motion + odds[number])

    return cut_out(half, evidence, still, memory=_MEMORY, edge=_EDGE, forbidden=unseen)


def _around(clip: Footage, half: HalfClip, parts: MainParts) -> tuple[RowStack, RowStack]:
    """Find plain places between parts of what was found, and where frames surely show the ground: (T, h, w), (T, H, W) bool.

    That is at some distance from what was found and not in such places: neither is motion seen there, nor surely the ground.
    """
    shape = clip.images.shape[:3]
    hollow = RowStack(half.scratch / "half hollow", half.scores.shape, np.bool_)
    ground = RowStack(half.scratch / "ground", shape, np.bool_)
    reach = 2 * max(1, round(_MARGIN * max(shape[1:]))) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    for index in range(len(half)):
        found = parts[index].astype(np.uint8)
        small = cv2.resize(found, half.size, interpolation=cv2.INTER_NEAREST) > 0
        hollow[index] = hollows(small, half.frame(index))
        within = cv2.resize(hollow[index].astype(np.uint8), shape[:0:-1], interpolation=cv2.INTER_NEAREST)
        ground[index] = (cv2.dilate(found, disc) | within) == 0
    return hollow, ground


@dataclass(frozen=True)
class _Known:
    """How well each pixel fits the ground behind it, on the disk."""

    stack: RowStack
    """(T, h, w, 3) float16: whether that is seen, and the logarithms of how likely the ground has the pixel's colour there, as
    other frames show it and in a shade; a colour is as large as a bin of the colours."""

    def seen(self, index: int) -> np.ndarray:
        """Where the ground behind a frame is known, (h, w) bool."""
        return self.stack[index][..., 0] > 0

    def likely(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """How likely the ground is of each pixel's colour, and of that in a shade, (h, w) float32 twice."""
        row = np.exp(self.stack[index][..., 1:].astype(np.float32))
        return row[..., 0], row[..., 1]


def _look_behind(clip: Footage, half: HalfClip, ground: Ground, plates: Plates, *, quiet: bool) -> _Known:
    """Hold each frame against the ground behind it."""
    width, height = half.size

    def row(index: int) -> np.ndarray:
        plate = background_plate(clip, index, ground)
        plates.stack[index] = np.dstack([plate.colour, np.where(plate.seen, 255, 0).astype(np.uint8)])
        size = (width, height)
        colour = cv2.resize(plate.colour, size, interpolation=cv2.INTER_AREA)
        spread = cv2.resize(plate.spread, size, interpolation=cv2.INTER_AREA)
        seen = cv2.resize(plate.seen.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.99
        as_plate, shaded = _fits(half.frame(index), Plate(colour, seen, spread))
        return np.dstack([seen, np.log(as_plate + _LEAST), np.log(shaded + _LEAST)])

    known = _Known(RowStack(half.scratch / "half known", (*half.scores.shape, 3), np.float16))
    with one_thread():
        rows = in_order(row, range(len(half)))
        for index, made in enumerate(Progress(rows, desc="background", unit="frame", total=len(half), quiet=quiet)):
            known.stack[index] = made
    return known


def _fits(image: np.ndarray, plate: Plate) -> tuple[np.ndarray, np.ndarray]:  # (h, w, 3) uint8
    """The share of the ground's colours at each pixel that is as near to its own as a bin: as the plate is, and in a shade."""
    here, behind = colours(image), colours(plate.colour)
    slopes = [cv2.Sobel(behind[..., 0], cv2.CV_32F, *way, scale=1 / 8) for way in ((1, 0), (0, 1))]
    spread = _SPREADS * cv2.GaussianBlur(plate.spread, (0, 0), 1.0)
    deviation = np.sqrt(_NOISE**2 + spread**2 + _OFF**2 * (slopes[0] ** 2 + slopes[1] ** 2))
    shaded = np.zeros(image.shape[:2], np.float32)
    for shade in _SHADES:
        shaded += _normal(here - colours((plate.colour * shade).astype(np.uint8)), 1.3 * deviation) / len(_SHADES)
    return _normal(here - behind, deviation), shaded


def _normal(difference: np.ndarray, deviation: np.ndarray) -> np.ndarray:  # (h, w, 3), (h, w) -> (h, w)
    """The probability of a bin at this difference, of a normal distribution that is round."""
    distance = np.square(difference).sum(axis=-1) / np.square(deviation)
    return _CELL * np.exp(-0.5 * distance) / ((2 * np.pi) ** 1.5 * deviation**3)
