"""Depth maps of a clip in one scale: estimators know depth up to a scale and a shift, and choose both anew in each frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from atlas.geometry.warp import sample, splat_into
from atlas.maps.views import ViewMaps
from atlas.storage.stack import FrameStack

Affine = tuple[float, float]
"""Scale and shift: depth -> scale * depth + shift."""
_LONGEST = 192  # places along the longer side that are compared: it is levels that count, not details
_ROUNDS = 2
_REWEIGHTINGS = 10
_FEWEST = 50
_SURE = 0.5  # opacity and collected opacity from which a pixel and a texel count
_STEEPEST = 10.0
_FLAT = 1e-3  # depth, of its range from 0 to 1


@torch.no_grad()
def in_one_scale(
    depths: FrameStack,  # (T, H, W, C), relative inverse depth
    maps: ViewMaps,  # of that size
    result: FrameStack,
    *,
    device: torch.device | str = "cpu",
) -> None:
    """Align depth maps to each other: a scale and a shift for each frame bring it to the mean of all in the layers' atlases.

    The affine fit is robust (iteratively reweighted, Geman and McClure's weights): what moves by itself has no say. Frames are
    aligned one after the other to those before them, then twice to the mean of all. Nothing is cut off: the whole clip's
    depths are brought to [0, 1], as each frame's own were. Memory is that of one atlas for each layer.
    """
    fits = _Atlases(maps, device).chained(depths)
    for _ in range(_ROUNDS):
        atlases = _Atlases(maps, device)
        for frame, fit in enumerate(fits):
            atlases.add(frame, _apply(depths[frame], fit))
        fits = _centred([atlases.fit(frame, depths[frame]) for frame in range(len(depths))])
    ends = [end for frame, fit in enumerate(fits) for end in _ends(_apply(depths[frame], fit))]
    low, range_of_all = min(ends), max(max(ends) - min(ends), _FLAT)
    for frame, (scale, shift) in enumerate(fits):
        result[frame] = _apply(depths[frame], (scale / range_of_all, (shift - low) / range_of_all))


def affine_fit(values: np.ndarray, targets: np.ndarray) -> Affine:  # (n,) both
    """Fit targets = scale * values + shift robustly; (1, 0) where there is too little to go by.

    It starts from medians and spreads, and goes on by least squares with the weights 1 / (1 + (r / s)^2)^2 of residuals r whose
    usual size is s.
    """
    if len(values) < _FEWEST:
        return 1.0, 0.0
    centre, spread = _middle(values)
    aim, width = _middle(targets)
    scale = width / spread if spread > _FLAT else 1.0
    shift = aim - scale * centre
    for _ in range(_REWEIGHTINGS if spread > _FLAT else 0):
        residuals = targets - scale * values - shift
        weights = 1 / (1 + (residuals / max(1.5 * float(np.median(np.abs(residuals))), _FLAT)) ** 2) ** 2
        total = weights.sum()
        x, y = (weights @ values) / total, (weights @ targets) / total
        variance = weights @ (values - x) ** 2
        scale = float(weights @ ((values - x) * (targets - y)) / variance) if variance > 0 else 1.0
        shift = float(y - scale * x)
    if not 1 / _STEEPEST < scale < _STEEPEST:
        return 1.0, float(aim - centre)
    return scale, shift


class _Atlases:
    """Depths of many frames, averaged in the atlas of each layer."""

    def __init__(self, maps: ViewMaps, device: torch.device | str) -> None:
        self.maps, self.device = maps, torch.device(device)
        step = max(1, max(maps.height, maps.width) // _LONGEST)
        self._places = slice(None, None, step), slice(None, None, step)
        sizes = {layer: (max(1, side // step) for side in maps.atlas_size(layer)) for layer in maps.layers}
        self._total = {layer: torch.zeros(*size, 2, device=self.device) for layer, size in sizes.items()}

    def chained(self, depths: FrameStack) -> list[Affine]:
        """Fit each frame to those before it, and add it."""
        fits = []
        for frame in range(len(depths)):
            fits.append(self.fit(frame, depths[frame]))
            self.add(frame, _apply(depths[frame], fits[-1]))
        return fits

    def add(self, frame: int, depth: np.ndarray) -> None:
        """Splat a frame's depths, weighted by opacity."""
        values = self._tensor(depth).mean(-1)
        for layer, total in self._total.items():
            uv, opacity = self._seen(layer, frame)
            splat_into(total, values[..., None], uv, opacity)

    def fit(self, frame: int, depth: np.ndarray) -> Affine:
        """Scale and shift that bring a frame to the mean, as far as that knows its places."""
        values, own, means = self._tensor(depth).mean(-1), [], []
        for layer, total in self._total.items():
            uv, opacity = self._seen(layer, frame)
            there = sample(total, uv)
            known = (opacity > _SURE) & (there[..., 1] > _SURE)
            own.append(values[known])
            means.append(there[known][:, 0] / there[known][:, 1])
        pairs = torch.stack([torch.cat(own), torch.cat(means)]).cpu().numpy().astype(np.float64)
        return affine_fit(pairs[0], pairs[1])

    def _seen(self, layer: str, frame: int) -> tuple[Tensor, Tensor]:
        uv, opacity = self.maps.uv(layer, frame), self.maps.opacity(layer, frame)
        return self._tensor(uv), self._tensor(opacity)

    def _tensor(self, image: np.ndarray) -> Tensor:  # (h, w, ...)
        return torch.from_numpy(np.ascontiguousarray(image[self._places])).to(self.device)


def _apply(depth: np.ndarray, fit: Affine) -> np.ndarray:
    return (fit[0] * depth + fit[1]).astype(np.float32)


def _centred(fits: Sequence[Affine]) -> list[Affine]:
    """Bring the mean of scales to 1 and that of shifts to 0: fits to a mean that noise has made flatter would shrink it on."""
    scale, shift = np.mean(fits, axis=0)
    return [(a / scale, (b - shift) / scale) for a, b in fits]


def _ends(depth: np.ndarray) -> tuple[float, float]:
    return float(depth.min()), float(depth.max())


def _middle(values: np.ndarray) -> tuple[float, float]:
    """Median, and median distance from it."""
    median = float(np.median(values))
    return median, float(np.median(np.abs(values - median)))
