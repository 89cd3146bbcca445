"""Long-range slide of a mapping, without marks: corners tracked through a stretch of the clip against the atlas.

    slide = |place(last) - inverse(last, layer)[uv(first, layer)[place(first)]]|,   in pixels of the clip

A fit stands on dense flow, which is as sure of a bare surface, or of light that moves over one, as of texture. Corners are
followed here from frame to frame by sparse optical flow (Lucas and Kanade 1981, on pyramids: Bouguet 2001), which the fit does
not use. Only those count that are corners in both directions, stay in their layer, and come back to their start when they are
followed backwards through all frames (Kalal et al. 2010). It reads frames as they pass by, and holds those of one stretch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from atlas.geometry.warp import bilinear
from atlas.maps.maps import Maps
from atlas.metrics.mapping import VISIBLE, find_places

_STRETCHES = 3  # that a clip is divided into: a mapping that slides does so over many frames
_LONGEST = 60  # frames of a stretch, which are held
_ASKED = 400  # corners of a layer, spread over it
_LEAST = 30  # of them that must come back, for a fifth of them to say anything
_CORNER = 3e-4  # least eigenvalue as OpenCV scales it: on the sample, corners below err by 1.5 to 3.8 px, above by 0.3 to 1.9
_AROUND = 9  # pixels along a side: over which a corner is one, and in which there is its layer alone
_WINDOW = 15  # pixels along a side of what is followed
_BACK = 0.5  # pixels by which a corner may miss its start


@dataclass(frozen=True)
class Slide:
    """How far corners of a layer, tracked through a stretch of the clip, and the layer's mapping come apart."""

    layer: str
    first: int
    last: int
    corners: int
    median: float
    p80: float
    """Pixels that a fifth of the corners exceed. Of ripples on water, which come back as corners do, a tenth is off by 2.7 px
    and more though the mapping is right; a fifth by 1.2."""


@dataclass
class _Corners:
    """Corners on their way through a stretch."""

    start: np.ndarray  # (n, 2) float32 pixels, x first
    place: np.ndarray  # (n, 2) the same in the latest frame
    layer: np.ndarray  # (n,) number of the layer
    uv: np.ndarray  # (n, 2) where they are in its atlas

    def only(self, kept: np.ndarray) -> _Corners:
        return _Corners(self.start[kept], self.place[kept], self.layer[kept], self.uv[kept])


class LongRange:
    """Measures slides while all frames of the clip pass by in their order."""

    def __init__(self, maps: Maps) -> None:
        self.slides: list[Slide] = []
        """Of each stretch and each layer of which enough corners were tracked."""
        self._maps = maps
        count = max(_STRETCHES, math.ceil((maps.frames - 1) / _LONGEST))
        self._ends = {round(end) for end in np.linspace(0, maps.frames - 1, count + 1)}
        self._greys: list[np.ndarray] = []
        self._corners: _Corners | None = None

    def add(
        self,
        index: int,
        frame: np.ndarray,  # (H, W, 3) uint8
        opacities: Mapping[str, np.ndarray],  # (H, W) by layer
    ) -> None:
        """Follow the corners into the clip's next frame, and measure the slides where it is the last of a stretch."""
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        if self._corners is not None:
            self._corners = self._followed(self._corners, grey, opacities)
        self._greys.append(grey)
        if index in self._ends:
            if self._corners is not None:
                self._measure(self._returned(self._corners), index)
            self._greys = [grey]
            self._corners = self._found(index, grey, opacities)

    def _found(self, index: int, grey: np.ndarray, opacities: Mapping[str, np.ndarray]) -> _Corners:
        """Corners of a frame, spread over each layer, away from its outline."""
        strength = cv2.cornerMinEigenVal(grey, _AROUND)
        places, uvs = [], []
        for layer in self._maps.layers:
            alone = cv2.erode((opacities[layer] > VISIBLE).astype(np.uint8), np.ones((_AROUND, _AROUND), np.uint8))
            rows, columns = np.nonzero((alone > 0) & (strength > _CORNER))
            step = max(1, math.floor(math.sqrt(len(rows) / _ASKED)))
            chosen = (rows % step == step // 2) & (columns % step == step // 2)
            rows, columns = rows[chosen], columns[chosen]
            places.append(np.stack([columns, rows], -1).astype(np.float32))
            uvs.append(self._maps.uv(layer, index)[rows, columns])
        layers = np.repeat(np.arange(len(places)), [len(of_it) for of_it in places])
        place = np.concatenate(places)
        return _Corners(place, place, layers, np.concatenate(uvs))

    def _followed(self, corners: _Corners, grey: np.ndarray, opacities: Mapping[str, np.ndarray]) -> _Corners:
        """Those that are found in the next frame, in their layer."""
        corners.place, seen = _track(self._greys[-1], grey, corners.place)
        for number, layer in enumerate(self._maps.layers):
            of_it = corners.layer == number
            seen[of_it] &= bilinear(opacities[layer], corners.place[of_it]) > VISIBLE
        return corners.only(seen)

    def _returned(self, corners: _Corners) -> _Corners:
        """Those that come back to where they started when they are followed backwards."""
        back, kept = corners.place, np.ones(len(corners.place), bool)
        for here, before in zip(self._greys[:0:-1], self._greys[-2::-1], strict=True):
            back, seen = _track(here, before, back)
            kept &= seen
        return corners.only(kept & (np.linalg.norm(back - corners.start, axis=-1) < _BACK))

    def _measure(self, corners: _Corners, index: int) -> None:
        for number, layer in enumerate(self._maps.layers):
            of_it = corners.only(corners.layer == number)
            if len(of_it.place) >= _LEAST:
                off = np.linalg.norm(find_places(self._maps, layer, index, of_it.uv) - of_it.place, axis=-1)
                median, p80 = (float(value) for value in np.percentile(off, (50, 80)))
                self.slides.append(Slide(layer, index - len(self._greys) + 1, index, len(off), median, p80))


def _track(
    here: np.ndarray,  # (H, W) uint8
    there: np.ndarray,  # (H, W) uint8
    places: np.ndarray,  # (n, 2) float32 pixels
) -> tuple[np.ndarray, np.ndarray]:  # (n, 2) float32 pixels, (n,) bool: found inside the frame
    if not len(places):
        return places, np.zeros(0, bool)
    found, seen, _ = cv2.calcOpticalFlowPyrLK(here, there, places[:, None], None, winSize=(_WINDOW, _WINDOW), maxLevel=3)
    inside = (found[:, 0] >= 0).all(-1) & (found[:, 0] <= np.array(here.shape[::-1]) - 1).all(-1)
    return found[:, 0], (seen[:, 0] > 0) & inside
