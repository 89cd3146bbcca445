"""Where a colour change applies: how much of the edit it explains, round about each texel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from atlas.geometry.filling import push_pull
from atlas.maps.keyframes import DARKEST

_WORKING, _CELLS = 512, 64
"""Texels per side, about, of the map of shares; cells per side in which is measured how much is explained."""
_EXPLAINED = (0.5, 0.85)  # share of the edit that must be explained for the change to apply at all, and to apply wholly
_BETTER = (0.3, 0.5)
"""Error of the atlas alone over the sum of it and of both: the change is no help at all, and as good as any."""
_SOME = (0.1, 0.9)  # share that is as good as none, and as all
_ENOUGH = 400  # pixels
_STEP = 1 / 255
_TOUCHED = 0.3  # of a texel's pixels have to have been edited


class SharesEvidence:
    """Gathers how well a colour change explains the edit, over the atlas."""

    def __init__(self, size: tuple[int, int]) -> None:  # (H, W) of the atlas
        reduction = max(1, round(max(size) / _WORKING))
        self._size = max(1, size[0] // reduction), max(1, size[1] // reduction)
        self._cells = min(_CELLS, self._size[0]), min(_CELLS, self._size[1])
        self._seen, self._edited = np.zeros((2, *self._size))
        self._squares = np.zeros((3, *self._cells))  # of what is left, of the edit; pixels
        self._changes: list[np.ndarray] = []  # of each keyframe (7, h, w): edit, and what is left of it; pixels

    def add(
        self,
        before: np.ndarray,  # (M, 3)
        after: np.ndarray,  # (M, 3)
        expected: np.ndarray,  # (M, 3) by the change
        predicted: np.ndarray,  # (M, 3) by a change that was learned elsewhere in the atlas
        uv: np.ndarray,  # (M, 2)
        light: np.ndarray,  # (M, 3)
    ) -> None:
        """Add the pixels of a keyframe that show the layer alone."""
        texels, cells = _Bins.of(uv, self._size), _Bins.of(uv, self._cells)
        edit, left = after - before, after - expected
        seen = texels.counts()
        self._seen += seen
        self._edited += texels.sums(edit.any(1))
        unlit = np.maximum(light, DARKEST)
        sums = [texels.sums(plane) for values in (edit / unlit, left / unlit) for plane in cv2.split(values[None])]
        self._changes.append(np.stack([*sums, seen]).astype(np.float32))
        self._squares[0] += cells.sums(_squared_lengths(after - predicted))
        self._squares[1] += cells.sums(_squared_lengths(edit))
        self._squares[2] += cells.counts()

    def join(self, other: SharesEvidence) -> None:
        """Add what was gathered from further keyframes."""
        self._seen += other._seen
        self._edited += other._edited
        self._squares += other._squares
        self._changes += other._changes

    def share(self) -> np.ndarray:  # (h, w) float32
        """How far the change applies: exactly 0 where the keyframes left the layer as it was."""
        left, edit, count = (_around(total, self._reach()) for total in self._squares)
        explained = 1 - left / np.maximum(edit + 3 * _STEP**2 * count, 1e-12)
        share = _filled(_ramp(explained, *_EXPLAINED), self._squares[2] > 0)
        if len(self._changes) > 1:
            share *= self._helpful()
        share = _ramp(share, *_SOME)
        share = cv2.resize(share, self._size[::-1], interpolation=cv2.INTER_LINEAR)
        touched = self._touched()
        share = np.where(touched == 0, 0, share * touched).astype(np.float32)
        edited = (touched > 0) & (self._seen > 0)
        return share if edited.any() and share[edited].mean() > _SOME[0] else np.zeros_like(share)

    def _reach(self) -> float:
        """Cells over which is averaged (sigma): as many as hold enough pixels to tell."""
        pixels = self._squares[2]
        usual = float(np.median(pixels[pixels > 0])) if pixels.any() else 1.0
        return float(np.clip((_ENOUGH / usual) ** 0.5 / 3, 1, _CELLS / 8))

    def _helpful(self) -> np.ndarray:  # cells
        """1 where keyframes are predicted from the others as well with the change as without it; less where it adds noise."""
        total = sum(self._changes[1:], self._changes[0])
        errors, twice = np.zeros((2, *self._size), np.float32), np.zeros(self._size, np.float32)
        for part in self._changes:
            others = total[6] - part[6]
            both = np.minimum(part[6], 1) * np.minimum(others, 1)
            own, other = both / np.maximum(part[6], 1), both / np.maximum(others, 1)
            apart = part[:6] * own - (total[:6] - part[:6]) * other
            errors += (apart * apart).reshape(2, 3, *self._size).mean(1)
            twice += both
        sums = [cv2.resize(image, self._cells[::-1], interpolation=cv2.INTER_AREA) for image in (*errors, twice)]
        alone, changed, count = (_around(image, self._reach()) for image in sums)
        floor = _STEP**2 * np.maximum(count, 1e-6)
        helpful = _ramp((alone + floor) / (alone + changed + 2 * floor), *_BETTER)
        return _filled(helpful, sums[2] > 0) if (sums[2] > 0).any() else np.ones(self._cells, np.float32)

    def _touched(self) -> np.ndarray:
        """1 where the layer was edited, 0 where it was seen and left as it was; what was not seen is as what is near it."""
        seen = cv2.GaussianBlur(self._seen, (0, 0), 0.7, borderType=cv2.BORDER_CONSTANT)
        edited = cv2.GaussianBlur(self._edited, (0, 0), 0.7, borderType=cv2.BORDER_CONSTANT)
        known = self._seen > 0
        touched = (edited > _TOUCHED * seen).astype(np.float32)
        filled = _ramp(_filled(touched, known), 0.25, 0.75)
        filled[known] = touched[known]
        untouched = (known & (touched == 0)).astype(np.uint8)
        filled[cv2.dilate(untouched, np.ones((3, 3), np.uint8)) > 0] = 0  # bilinear look-ups reach a texel far
        return filled


@dataclass(frozen=True)
class _Bins:
    """Cells over the atlas, and the number of the one that each pixel lies in."""

    number: np.ndarray  # (M,)
    size: tuple[int, int]

    @classmethod
    def of(cls, uv: np.ndarray, size: tuple[int, int]) -> _Bins:  # (M, 2)
        places = (uv + 1) * np.array([size[1] / 2, size[0] / 2], uv.dtype)
        column, row = (plane[0].astype(np.int64).clip(0, size[1 - i] - 1) for i, plane in enumerate(cv2.split(places[None])))
        return cls(row * size[1] + column, size)

    def sums(self, values: np.ndarray) -> np.ndarray:  # (M,) -> size
        """Sum up what lies in each."""
        return np.bincount(self.number, values.ravel(), self.size[0] * self.size[1]).reshape(self.size)

    def counts(self) -> np.ndarray:  # size
        """Count the pixels in each."""
        return np.bincount(self.number, minlength=self.size[0] * self.size[1]).reshape(self.size)


def _squared_lengths(values: np.ndarray) -> np.ndarray:  # (M, 3) -> (M,)
    """Square the length of each vector."""
    return np.einsum("ij,ij->i", values, values)


def _around(image: np.ndarray, reach: float) -> np.ndarray:  # (h, w)
    return cv2.GaussianBlur(image, (0, 0), reach, borderType=cv2.BORDER_CONSTANT)


def _filled(values: np.ndarray, known: np.ndarray) -> np.ndarray:  # (h, w), (h, w) -> (h, w) float32
    image = torch.from_numpy(values.astype(np.float32))[..., None]
    return push_pull(image, torch.from_numpy(known.astype(np.float32)))[..., 0].numpy()


def _ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip((values - low) / (high - low), 0, 1).astype(np.float32)
