"""Textures that do not shimmer: an atlas at full size, halved again and again, looked up where a pixel's footprint fits.

A pixel that spans more than a texel of the atlas would pick one of them and drop its neighbours; as things move, another
one each time. Where that happens the texture is read from smaller copies of itself (trilinear filtering). Where it does
not, which is almost everywhere in a clip whose atlases have the frames' own resolution, nothing is done.
"""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

SHARP = 1.25
"""Texels that a pixel may span before smaller copies are read: bilinear sampling alone spans as much."""
_STRIDE = 8  # pixels between the nodes where footprints are measured: they change slowly
_ROW = 1024
_TOGETHER = 4  # channels that OpenCV looks up at once, at five times the speed of torch (2 cores)


class Texture:
    """Channels over an atlas square, to be looked up on a device; smaller copies are made when first asked for."""

    def __init__(self, image: np.ndarray, device: torch.device | str = "cpu") -> None:  # (N, N, C) float
        self.channels, self.device = image.shape[2], torch.device(device)
        self._image = np.ascontiguousarray(image, np.float32)
        self._parts = lru_cache(maxsize=None)(self._split)

    @property
    def size(self) -> int:
        """Texels along the longer side."""
        return max(self._image.shape[:2])

    def at(
        self,
        uv: np.ndarray,  # (h, w, 2) of neighbouring pixels
        wanted: np.ndarray | None = None,  # (h, w): the result matters where this is above 0
        *,
        smooth: bool = True,
    ) -> list[Tensor]:  # a plane (h, w) for each channel
        """The texture as the pixels see it; smooth=False looks it up at full size alone."""
        result = self._look_up(uv, 0)
        level = level_of_detail(uv, self.size) if smooth else None
        if level is not None:
            self._blend_smaller(uv, level if wanted is None else level * (wanted > 0), result)
        if self.device.type == "cpu":
            return [torch.from_numpy(plane) for part in result for plane in cv2.split(part)][: self.channels]
        return [plane for part in result for plane in part.unbind(-1)][: self.channels]

    def _blend_smaller(self, uv: np.ndarray, level: np.ndarray, result: list) -> None:
        """Put into `result`, looked up at full size, what smaller copies say where `level` is above 0."""
        number = 1
        chosen = np.flatnonzero(level)
        while len(chosen):
            # In rows: OpenCV takes no single row of so many.
            rows = -(-len(chosen) // _ROW)
            padded = np.resize(chosen, (rows, _ROW))
            share = np.minimum(level.reshape(-1)[chosen] - (number - 1), 1)[:, None]
            weight = share if self.device.type == "cpu" else torch.from_numpy(share).to(self.device)
            for part, smaller in zip(result, self._look_up(uv.reshape(-1, 2)[padded], number), strict=True):
                flat, found = part.reshape(-1, part.shape[-1]), smaller.reshape(-1, part.shape[-1])[: len(chosen)]
                before = flat[chosen]
                flat[chosen] = before + weight * (found - before)
            chosen = chosen[level.reshape(-1)[chosen] > number]
            number += 1

    def _look_up(self, uv: np.ndarray, level: int) -> list:
        """Bilinear look-up; outside the texture its border is repeated. Parts of up to 4 channels, (h, w, c) each."""
        parts = self._parts(level)
        if self.device.type != "cpu":
            where = torch.from_numpy(np.ascontiguousarray(uv)).to(self.device)[None]
            found = [F.grid_sample(part, where, padding_mode="border", align_corners=False) for part in parts]
            return [part[0].permute(1, 2, 0) for part in found]
        height, width = parts[0].shape[:2]
        half = np.array([width / 2, height / 2], np.float32)
        texels = uv * half
        texels += half - np.float32(0.5)
        return [cv2.remap(part, texels, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for part in parts]

    def _split(self, level: int) -> list:
        """The texture halved `level` times, each texel the mean of what it covers, in parts as the device wants them."""
        if level and self.device.type == "cpu":
            return [_halved(part) for part in self._parts(level - 1)]
        if level:
            return [
                torch.from_numpy(_halved(part[0].permute(1, 2, 0).cpu().numpy())).permute(2, 0, 1)[None].to(self.device)
                for part in self._parts(level - 1)
            ]
        starts = range(0, self.channels, _TOGETHER)
        parts = [self._image[..., start : start + _TOGETHER] for start in starts]
        if self.device.type == "cpu":
            rest = -self.channels % _TOGETHER
            return [
                np.ascontiguousarray(np.pad(part, ((0, 0), (0, 0), (0, rest if part.shape[2] < _TOGETHER else 0))))
                for part in parts
            ]
        return [torch.from_numpy(part.transpose(2, 0, 1)[None].copy()).to(self.device) for part in parts]


def texture(image: np.ndarray, device: torch.device | str = "cpu") -> Texture:
    """(N, N, C) float array as a texture."""
    return Texture(image, device)


def level_of_detail(uv: np.ndarray, size: int) -> np.ndarray | None:  # (h, w, 2) -> (h, w)
    """How often a texture of `size` texels is to be halved for each pixel; None where it is nowhere.

    From the longer side of the pixel's footprint, measured between nodes a few pixels apart.
    """
    height, width = uv.shape[:2]
    stride = min(_STRIDE, height - 1, width - 1)
    if stride < 1:
        return None
    nodes = uv[::stride, ::stride] * np.float32(size / 2 / stride)
    across, down = (np.linalg.norm(np.diff(nodes, axis=axis), axis=-1) for axis in (1, 0))
    footprint = np.maximum(across[:-1], down[:, :-1])
    if not footprint.max() > SHARP:
        return None
    level = np.clip(np.log2(np.maximum(footprint, SHARP) / SHARP), 0, math.log2(size)).astype(np.float32)
    return cv2.resize(level, (width, height), interpolation=cv2.INTER_LINEAR)


def _halved(part: np.ndarray) -> np.ndarray:
    height, width = part.shape[:2]
    return cv2.resize(part, (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA)
