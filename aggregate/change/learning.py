"""Learn a layer's colour change from its keyframes: edited pixels against unedited ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from aggregate.change.where import SharesEvidence
from atlas.geometry.boxes import bounding_box
from atlas.maps.layer_view import PURE
from atlas.recolour.change import ColourChange
from atlas.recolour.grid import BilateralGrid, fit_grid
from atlas.recolour.matte import MatteEvidence
from atlas.recolour.table import NODES, fit_table

_SAMPLES = 36_000
"""Pixels that the table and the grid are fitted to."""
_WORTH = 0.9  # of the error that the table leaves: a grid that predicts other keyframes no better than this is left out
_EXACT = 1.5 / 255  # departure that needs no grid
_ODD = 0.1  # departure beyond which a pixel counts no more against a prediction
_FIELDS = 6  # of a chequerboard, along each side
_BEYOND = 12  # pixels around a layer that show whether a keyframe was composited


@dataclass(frozen=True)
class EditedPixels:
    """A keyframe of a layer: its pixels before and after, as they lie in the frame."""

    before: np.ndarray
    """(H, W, 3) float32, the frame."""
    after: np.ndarray
    """(H, W, 3) float32, the keyframe where the edit applies, else the frame."""
    uv: np.ndarray
    """(H, W, 2)."""
    light: np.ndarray
    """(H, W, 3)."""
    opacity: np.ndarray
    """(H, W)."""
    mask: np.ndarray
    """(H, W) in [0, 1]: the clip's mask of the layer, or the opacity where it has none."""


def learn_change(
    keyframes: Callable[[], Iterable[EditedPixels]],  # read anew each time
    count: int,
    size: tuple[int, int],  # (H, W) of the atlas
    *,
    seed: int = 0,
) -> ColourChange | None:
    """Learn what the edit does to the layer's colours, and where; None where it explains nothing of the edit.

    A colour table for the layer and, where that predicts other keyframes (of one: other places) better, a grid of corrections;
    how far they apply, from how much of the edit they explain round about; and the matte of keyframes that were composited.
    """
    samples = _Samples.of(keyframes(), count, np.random.default_rng(seed))
    if not len(samples.before) or not (samples.before != samples.after).any():
        return None
    change, crossed = _change(samples), _Crossed.of(samples)
    shares, matte = SharesEvidence(size), MatteEvidence()
    for pixels in keyframes():
        box = bounding_box(pixels.opacity, _BEYOND)
        if box is None:
            continue
        before, after, uv, opacity = (image[box] for image in (pixels.before, pixels.after, pixels.uv, pixels.opacity))
        expected, mask = changed(change, before, uv), pixels.mask[box]
        pure = opacity >= PURE
        predicted = crossed.predicted(before[pure], uv[pure])
        shares.add(before[pure], after[pure], expected[pure], predicted, uv[pure], pixels.light[box][pure])
        around = cv2.dilate((opacity > 0).astype(np.uint8), np.ones((2 * _BEYOND + 1,) * 2, np.uint8)).astype(bool)
        matte.add((after - before)[around], (expected - before)[around], opacity[around], mask[around])
    share = shares.share()
    if not share.any():
        return None
    return replace(change, share=share, matte=matte.matte())


def changed(change: ColourChange, colours: np.ndarray, uv: np.ndarray) -> np.ndarray:  # (..., 3), (..., 2) -> (..., 3)
    """Apply a colour change wholly."""
    shape = colours.shape
    planes = list(torch.from_numpy(np.ascontiguousarray(colours.reshape(1, -1, 3).transpose(2, 0, 1), np.float32)))
    result = change.whole(planes, torch.from_numpy(np.ascontiguousarray(uv.reshape(1, -1, 2), np.float32)))
    return torch.stack(result, -1).numpy().reshape(shape)


@dataclass(frozen=True)
class _Samples:
    """Pixels that show the layer alone, edited."""

    before: np.ndarray  # (M, 3)
    after: np.ndarray  # (M, 3)
    uv: np.ndarray  # (M, 2)
    keyframe: np.ndarray  # (M,)

    @classmethod
    def of(cls, keyframes: Iterable[EditedPixels], count: int, generator: np.random.Generator) -> _Samples:
        parts = []
        for number, pixels in enumerate(keyframes):
            places = np.flatnonzero(pixels.opacity >= PURE)
            most = _SAMPLES // count
            if len(places) > most:
                places = generator.choice(places, most, replace=False)
            before, after, uv = (
                image.reshape(-1, image.shape[-1])[places] for image in (pixels.before, pixels.after, pixels.uv)
            )
            parts.append((before, after, uv, np.full(len(places), number)))
        return cls(*(np.concatenate(values) for values in zip(*parts, strict=True)))

    def __getitem__(self, chosen: np.ndarray) -> _Samples:
        return _Samples(self.before[chosen], self.after[chosen], self.uv[chosen], self.keyframe[chosen])


_WHOLLY = np.ones((1, 1), np.float32)
_COARSE = 13  # nodes of a table that only serves to predict


def _change(samples: _Samples, nodes: int = NODES, *, place: bool = True) -> ColourChange:
    """Fit a table, and a grid where it is worth while (place=False: never)."""
    table = fit_table(samples.before, samples.after, np.ones(len(samples.before)), nodes)
    change = ColourChange(table, None, _WHOLLY)
    return replace(change, grid=_worthwhile_grid(change, samples)) if place else change


@dataclass(frozen=True)
class _Crossed:
    """Predictions of the edit from elsewhere: fields of a chequerboard over the atlas, each from those of the other colour."""

    board: _Board
    changes: tuple[ColourChange, ColourChange]
    """What predicts the fields 0, and 1."""

    @classmethod
    def of(cls, samples: _Samples) -> _Crossed:
        board = _Board.of(samples.uv)
        field = board.fields(samples.uv)
        return cls(board, tuple(_change(samples[other], _COARSE) for other in (field == 1, field == 0)))  # type: ignore[arg-type]

    def predicted(self, before: np.ndarray, uv: np.ndarray) -> np.ndarray:  # (M, 3), (M, 2) -> (M, 3)
        field = self.board.fields(uv)
        result = np.empty_like(before)
        for number, change in enumerate(self.changes):
            result[field == number] = changed(change, before[field == number], uv[field == number])
        return result


def _worthwhile_grid(change: ColourChange, samples: _Samples) -> BilateralGrid | None:
    """Fit a grid of corrections where it predicts what it was not fitted to better than the table alone does."""
    missing = samples.after - changed(change, samples.before, samples.uv)
    if _error(missing) < _EXACT**2:
        return None
    parts = samples.keyframe if np.ptp(samples.keyframe) else _Board.of(samples.uv).fields(samples.uv)
    predicted = np.empty_like(missing)
    for part in np.unique(parts):
        known, rest = parts != part, parts == part
        if not known.any():
            return None
        predicted[rest] = missing[rest] - _corrections(_grid(samples[known], missing[known]), samples[rest])
    if _error(predicted) > _WORTH * _error(missing):
        return None
    return _grid(samples, missing)


def _grid(samples: _Samples, missing: np.ndarray) -> BilateralGrid:
    weight = 1 / (1 + (np.linalg.norm(missing, axis=1) / _ODD) ** 2)
    return fit_grid(samples.before, missing, samples.uv, weight)


def _corrections(grid: BilateralGrid, samples: _Samples) -> np.ndarray:
    planes = torch.from_numpy(np.ascontiguousarray(samples.before.T[:, None], np.float32))
    uv = torch.from_numpy(np.ascontiguousarray(samples.uv[None], np.float32))
    return torch.stack(grid.at(list(planes), uv), -1).numpy().reshape(-1, 3)


def _error(missing: np.ndarray) -> float:
    return float(np.minimum((missing**2).mean(1), _ODD**2).mean())


@dataclass(frozen=True)
class _Board:
    """A chequerboard over the part of the atlas that keyframes see."""

    low: np.ndarray  # (2,)
    side: np.ndarray  # (2,) of a field

    @classmethod
    def of(cls, uv: np.ndarray) -> _Board:
        low, high = uv.min(0), uv.max(0)
        return cls(low, np.maximum(high - low, 1e-6) / _FIELDS)

    def fields(self, uv: np.ndarray) -> np.ndarray:  # (M, 2) -> (M,) 0 or 1
        return np.floor((uv - self.low) / self.side).astype(int).sum(1) % 2
