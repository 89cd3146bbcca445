"""Learn a layer's colour change from its keyframes: edited pixels against unedited ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce
from operator import add

import cv2
import numpy as np
import torch
from torch import Tensor

from aggregate.change.where import SharesEvidence
from atlas.geometry.boxes import bounding_box
from atlas.maps.keyframes import DARKEST
from atlas.maps.layer_view import PURE
from atlas.recolour.change import ColourChange
from atlas.recolour.grid import BilateralGrid, GridPixels
from atlas.recolour.matte import MatteEvidence
from atlas.recolour.table import NODES, fit_table
from atlas.system.parallel import WORKERS, in_order

_SAMPLES = 36_000
"""Pixels that the table and the grid are fitted to."""
_WORTH = 0.9  # of the error that the table leaves: a grid that predicts other keyframes no better than this is left out
_EXACT = 1.5 / 255  # departure that needs no grid
_ROUNDING = 0.75 / 255  # departure of a change with light, at which none without it is tried
_ODD = 0.1  # departure beyond which a pixel counts no more against a prediction
_EVEN, _CLEARLY = 0.02, 0.8  # light that says nothing; error, over the other's, by which a change without light is chosen
_NEIGHBOURS, _EDITED = 5, 0.3  # pixels a side, and the share of them that has to differ
_FOLDS = 3  # groups of keyframes, each predicted from the others
_FEWEST = 16  # pixels that say what an edit does to colours
_FIELDS = 6  # of a chequerboard, along each side
_TOGETHER = min(WORKERS, 2)  # keyframes that are read at once
_BEYOND = 12  # pixels around a layer that show whether a keyframe was composited


@dataclass(frozen=True)
class EditedPixels:
    """A keyframe of a layer: its pixels before and after, as they lie in the frame."""

    before: np.ndarray
    """(H, W, 3) float32, the frame."""
    after: np.ndarray
    """(H, W, 3) float32, the keyframe where the edit applies and where the layer is not seen, else the frame."""
    uv: np.ndarray
    """(H, W, 2)."""
    light: np.ndarray
    """(H, W, 3)."""
    opacity: np.ndarray
    """(H, W)."""
    mask: np.ndarray
    """(H, W) in [0, 1]: the clip's mask of the layer, or the opacity where it has none."""

    def edited(self) -> np.ndarray:  # (H, W) bool
        """Where the edit changed anything round about: what it left alone says nothing of what it does to colours."""
        differs = (self.before != self.after).any(-1).astype(np.float32)
        return cv2.blur(differs, (_NEIGHBOURS, _NEIGHBOURS)) > _EDITED


def learn_change(
    keyframes: Sequence[Callable[[], EditedPixels]],  # read each, anew each time
    size: tuple[int, int],  # (H, W) of the atlas
    *,
    seed: int = 0,
) -> ColourChange | None:
    """Learn what the edit does to the layer's colours, and where; None where it explains nothing of the edit.

    A colour table for the layer and, where that predicts other keyframes (of one: other places) better, a grid of corrections;
    how far they apply, from how much of the edit they explain round about; and the matte of keyframes that were composited.
    """
    samples = _Samples.of(keyframes, np.random.default_rng(seed))
    if len(samples.before) < _FEWEST:
        return None
    unlit, crossed = _elsewhere(samples)
    change = _change(samples, unlit)
    shares, matte = SharesEvidence(size), MatteEvidence()
    for evidence in in_order(lambda read: _evidence(read(), change, crossed, size), keyframes, _TOGETHER):
        if evidence:
            shares.join(evidence[0])
            matte.join(evidence[1])
    share = shares.share()
    if not share.any():
        return None
    return replace(change, share=share, matte=matte.matte())


def _evidence(
    pixels: EditedPixels, change: ColourChange, crossed: _Crossed, size: tuple[int, int]
) -> tuple[SharesEvidence, MatteEvidence] | None:
    """Hold a keyframe against the change: where it explains the edit, and how far it reaches over the outline."""
    box = bounding_box(pixels.opacity, _BEYOND)
    if box is None:
        return None
    before, after, uv, light, opacity, mask = (
        image[box] for image in (pixels.before, pixels.after, pixels.uv, pixels.light, pixels.opacity, pixels.mask)
    )
    shares, matte = SharesEvidence(size), MatteEvidence()
    expected = changed(change, before, uv, light)
    pure = np.flatnonzero(opacity >= PURE)
    here, there, wanted, place, lit = (_taken(image, pure) for image in (before, after, expected, uv, light))
    shares.add(here, there, wanted, crossed.predicted(here, place, lit), place, lit)
    around = np.flatnonzero(cv2.dilate((opacity > 0).astype(np.uint8), np.ones((2 * _BEYOND + 1,) * 2, np.uint8)))
    edit, expected_edit = (_taken(image, around) for image in (after - before, expected - before))
    matte.add(edit, expected_edit, opacity.ravel()[around], mask.ravel()[around])
    return shares, matte


def _taken(image: np.ndarray, places: np.ndarray) -> np.ndarray:  # (h, w, C), (M,) -> (M, C)
    return np.ascontiguousarray(image).reshape(-1, image.shape[-1]).take(places, 0)


def changed(
    change: ColourChange,
    colours: np.ndarray,  # (..., 3)
    uv: np.ndarray,  # (..., 2)
    light: np.ndarray,  # (..., 3)
) -> np.ndarray:  # (..., 3)
    """Apply a colour change wholly."""
    place = torch.from_numpy(np.ascontiguousarray(uv.reshape(1, -1, 2), np.float32))
    return torch.stack(change.whole(_planes(colours), place, _planes(light)), -1).numpy().reshape(colours.shape)


def _planes(image: np.ndarray) -> list[Tensor]:  # (..., 3) -> planes (1, M)
    return list(torch.from_numpy(np.ascontiguousarray(image.reshape(1, -1, 3).transpose(2, 0, 1), np.float32)))


def _edited(pixels: EditedPixels) -> tuple[EditedPixels, np.ndarray]:  # and the numbers (M,) of what is edited of the layer
    return pixels, np.flatnonzero((pixels.opacity >= PURE) & pixels.edited())


@dataclass(frozen=True)
class _Samples:
    """Pixels that show the layer alone, edited."""

    before: np.ndarray  # (M, 3)
    after: np.ndarray  # (M, 3)
    uv: np.ndarray  # (M, 2)
    light: np.ndarray  # (M, 3)
    keyframe: np.ndarray  # (M,)

    @classmethod
    def of(cls, keyframes: Sequence[Callable[[], EditedPixels]], generator: np.random.Generator) -> _Samples:
        parts, most = [], _SAMPLES // len(keyframes)
        for number, (pixels, places) in enumerate(in_order(lambda read: _edited(read()), keyframes, _TOGETHER)):
            if len(places) > most:
                places = generator.choice(places, most, replace=False)
            images = (pixels.before, pixels.after, pixels.uv, pixels.light)
            parts.append((*(_taken(image, places) for image in images), np.full(len(places), number)))
        return cls(*(np.concatenate(values) for values in zip(*parts, strict=True)))

    def __getitem__(self, chosen: np.ndarray) -> _Samples:
        return _Samples(*(getattr(self, item.name)[chosen] for item in fields(self)))

    def unlit(self) -> _Samples:
        """The same without light."""
        gain = np.maximum(self.light, DARKEST)
        return replace(self, before=self.before / gain, after=self.after / gain)


_WHOLLY = np.ones((1, 1), np.float32)
_COARSE = 13  # nodes of a table that only serves to predict


def _change(samples: _Samples, unlit: bool, nodes: int = NODES, *, place: bool = True) -> ColourChange:
    """Fit a table, and a grid where it is worth while (place=False: never)."""
    bare = samples.unlit() if unlit else samples
    change = ColourChange(fit_table(bare.before, bare.after, nodes), None, _WHOLLY, unlit=unlit)
    return _placed(change, samples) if place else change


def _placed(change: ColourChange, samples: _Samples) -> ColourChange:
    return replace(change, grid=_worthwhile_grid(change, samples.unlit() if change.unlit else samples))


def _elsewhere(samples: _Samples) -> tuple[bool, _Crossed]:
    """Tell whether the edit is predicted clearly better as a change of the colours without light; and what predicts it so."""
    lit = _Crossed.of(samples, False)
    if np.ptp(samples.light, axis=0).max() < _EVEN or (error := lit.error(samples)) < _ROUNDING**2:
        return False, lit.with_grids(samples)
    unlit = _Crossed.of(samples, True)
    clearly = unlit.error(samples) < _CLEARLY * error
    return clearly, (unlit if clearly else lit).with_grids(samples)


@dataclass(frozen=True)
class _Crossed:
    """Predictions of the edit from elsewhere: fields of a chequerboard over the atlas, each from those of the other colour."""

    board: _Board
    changes: tuple[ColourChange, ColourChange]
    """What predicts the fields 0, and 1."""

    @classmethod
    def of(cls, samples: _Samples, unlit: bool) -> _Crossed:
        """Fit tables alone."""
        board = _Board.of(samples.uv)
        first, second = (_change(samples[part], unlit, _COARSE, place=False) for part in board.others(samples.uv))
        return cls(board, (first, second))

    def with_grids(self, samples: _Samples) -> _Crossed:
        """The same tables, and grids where they are worth while."""
        parts = zip(self.changes, self.board.others(samples.uv), strict=True)
        first, second = (_placed(change, samples[part]) for change, part in parts)
        return replace(self, changes=(first, second))

    def error(self, samples: _Samples) -> float:
        """Measure how well it predicts samples: a mean square."""
        return _error(samples.after - self.predicted(samples.before, samples.uv, samples.light))

    def predicted(
        self,
        before: np.ndarray,  # (M, 3)
        uv: np.ndarray,  # (M, 2)
        light: np.ndarray,  # (M, 3)
    ) -> np.ndarray:  # (M, 3)
        field = self.board.fields(uv)
        result = np.empty_like(before)
        for number, change in enumerate(self.changes):
            here = field == number
            result[here] = changed(change, before[here], uv[here], light[here])
        return result


def _worthwhile_grid(change: ColourChange, samples: _Samples) -> BilateralGrid | None:
    """Fit a grid of corrections where it predicts what it was not fitted to better than the table alone does."""
    place = torch.from_numpy(np.ascontiguousarray(samples.uv[None], np.float32))
    missing = samples.after - torch.stack(change.unbounded(_planes(samples.before), place), -1).numpy().reshape(-1, 3)
    if _error(missing) < _EXACT**2:
        return None
    parts = samples.keyframe % _FOLDS if np.ptp(samples.keyframe % _FOLDS) else _Board.of(samples.uv).fields(samples.uv)
    folds = [parts == part for part in np.unique(parts)]
    if len(folds) < 2:
        return None
    pixels, weight = GridPixels.of(samples.before, samples.uv), 1 / (1 + (np.linalg.norm(missing, axis=1) / _ODD) ** 2)
    held = [pixels[fold] for fold in folds]
    own = [some.sums(missing[fold], weight[fold]) for some, fold in zip(held, folds, strict=True)]
    total, predicted = reduce(add, own), np.empty_like(missing)
    for some, fold, its in zip(held, folds, own, strict=True):
        predicted[fold] = missing[fold] - some.corrections((total - its).solved())
    if _error(predicted) > _WORTH * _error(missing):
        return None
    return pixels.grid(total.solved())


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

    def others(self, uv: np.ndarray) -> Iterator[np.ndarray]:  # (M, 2) -> (M,) bool twice
        """What is not in the fields 0, and 1; all where there is no such."""
        field = self.fields(uv)
        return (field == other if (field == other).any() else field >= 0 for other in (1, 0))
