"""Textures with mip maps: an atlas halved again and again, looked up at the level of detail that a pixel's footprint asks for.

A pixel that spans more than a texel of the atlas would pick one of them and drop its neighbours; as things move, another
one each time. Where that happens the texture is read from smaller copies of itself (trilinear filtering). Where it does
not, which is almost everywhere in a clip whose atlases have the frames' own resolution, nothing is done.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from atlas.geometry.boxes import Box
from atlas.geometry.departures import Departures

SHARP = 1.25
"""Texels that a pixel may span before smaller copies are read: bilinear sampling alone spans as much."""
_STRIDE = 8  # pixels between the nodes where footprints are measured: they change slowly
_ROW = 1024  # places looked up as a row
_COLOUR = 3  # channels that are looked up together, with a fourth to spare: OpenCV takes as long for four as for one


class Texture:
    """A texture: channels over an atlas square, looked up on a device; mip maps are made when first asked for."""

    def __init__(self, image: np.ndarray, device: torch.device | str = "cpu") -> None:  # (N, N, C) float
        self.channels, self.device = image.shape[2], torch.device(device)
        self._image = np.ascontiguousarray(image, np.float32)
        self._levels: dict[int, list] = {}
        self._departures: dict[float, Departures] = {}

    @property
    def size(self) -> int:
        """Texels along the longer side."""
        return max(self._image.shape[:2])

    def put(self, box: Box, values: np.ndarray) -> None:  # (h, w, C) float
        """Replace the texels of a box, in place: what is looked up from now on is what a new texture would give."""
        self._image[box] = values
        full = self._levels.get(0)
        self._levels.clear()  # smaller copies are made anew when they are asked for
        for departures in self._departures.values():
            departures.renew(box)
        if full and self.device.type == "cpu":
            for start, part in zip(range(0, self.channels, _COLOUR), full, strict=True):
                part[box] = _of_four(np.ascontiguousarray(values[..., start : start + _COLOUR], np.float32))
            self._levels[0] = full

    def at(
        self,
        uv: np.ndarray,  # (h, w, 2) of neighbouring pixels
        wanted: np.ndarray | None = None,  # (h, w): the result matters where this is above 0
        *,
        smooth: bool = True,
    ) -> list[Tensor]:  # a plane (h, w) for each channel
        """Look the texture up as the pixels see it (trilinear filtering); smooth=False looks it up at full size alone."""
        level = level_of_detail(uv, self.size) if smooth else None
        parts = self.at_level(uv, level if level is None or wanted is None else level * (wanted > 0))
        planes = [plane for part in parts for plane in (part.unbind(-1)[:_COLOUR] if part.ndim == 3 else [part])]
        return [plane.contiguous() for plane in planes[: self.channels]]

    def at_level(
        self,
        uv: np.ndarray,  # (h, w, 2)
        level: np.ndarray | None,  # (h, w)
    ) -> list[Tensor]:  # (h, w, 4) for every three channels, the fourth of no meaning; (h, w) for one
        """Look the texture up at levels of detail, as `level_of_detail` chooses them; None: at full size."""
        result = self._look_up(uv, 0)
        if level is not None:
            self._blend_smaller(uv, level, result)
        return [torch.from_numpy(part) for part in result] if self.device.type == "cpu" else result

    def departing(
        self,
        uv: np.ndarray,  # (h, w, 2)
        level: np.ndarray | None = None,  # (h, w)
        value: float = 0.0,
    ) -> np.ndarray | None:  # (h, w) bool
        """Find where look-ups may give something else than one value in all channels; None: nowhere. For a CPU."""
        if value not in self._departures:
            self._departures[value] = Departures(self._image, value)
        return self._departures[value].reached(uv, level)

    def at_places(self, uv: np.ndarray) -> Tensor:  # (M, 2) -> (M, 4)
        """Look a texture of three channels up at full size, wherever; for few places. The fourth has no meaning."""
        (colours,) = self._look_up_places(uv, 0)
        return torch.from_numpy(colours) if self.device.type == "cpu" else colours

    def _blend_smaller(self, uv: np.ndarray, level: np.ndarray, result: list) -> None:
        """Blend smaller copies into `result`, looked up at full size, where `level` is above 0, and only there."""
        flat = [part.reshape(-1, part.shape[2]) if part.ndim == 3 else part.reshape(-1) for part in result]
        places, depth = np.flatnonzero(level > 0), level.reshape(-1)
        for number in range(1, math.ceil(level.max()) + 1):
            places = places[depth[places] > number - 1]
            share = np.minimum(depth[places] - (number - 1), 1)
            at = places if self.device.type == "cpu" else torch.from_numpy(places).to(self.device)
            for part, smaller in zip(flat, self._look_up_places(uv.reshape(-1, 2)[places], number), strict=True):
                part[at] = _mixed(part[at], smaller, share)

    def _look_up_places(self, uv: np.ndarray, level: int) -> list:  # (M, 2) -> (M, c) or (M,) for each part
        """Look a level up wherever, as rows: OpenCV has a limit on the width."""
        rows = np.zeros((-(-len(uv) // _ROW), _ROW, 2), np.float32)
        rows.reshape(-1, 2)[: len(uv)] = uv
        found = self._look_up(rows, level)
        return [(part.reshape(-1, part.shape[2]) if part.ndim == 3 else part.reshape(-1))[: len(uv)] for part in found]

    def _look_up(self, uv: np.ndarray, level: int) -> list:
        """Look a level up bilinearly; outside the texture its border is repeated. Parts (h, w, c), of one channel (h, w)."""
        parts = self._parts(level)
        if self.device.type != "cpu":
            where = torch.from_numpy(np.ascontiguousarray(uv)).to(self.device)[None]
            sampled = [F.grid_sample(part, where, padding_mode="border", align_corners=False)[0] for part in parts]
            return [part.permute(1, 2, 0) if len(part) > 1 else part[0] for part in sampled]
        height, width = parts[0].shape[:2]
        half: np.ndarray | np.float32 = np.float32(width / 2)
        if height != width:  # a pair for each pixel costs ten times as much as one number for all
            half = np.array([width / 2, height / 2], np.float32)
        texels = uv * half
        texels += half - np.float32(0.5)
        return [cv2.remap(part, texels, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for part in parts]

    def _parts(self, level: int) -> list:
        """The parts of a level, made once."""
        if level not in self._levels:
            self._levels[level] = self._split(level)
        return self._levels[level]

    def _split(self, level: int) -> list:
        """Halve the texture `level` times, each texel the mean of what it covers, in parts as the device wants them."""
        if level and self.device.type == "cpu":
            return [_halved(part) for part in self._parts(level - 1)]
        if level:
            return [
                torch.from_numpy(_halved(part[0].permute(1, 2, 0).cpu().numpy())).permute(2, 0, 1)[None].to(self.device)
                for part in self._parts(level - 1)
            ]
        starts = range(0, self.channels, _COLOUR)
        parts = [_of_four(self._image[..., start : start + _COLOUR]) for start in starts]
        if self.device.type == "cpu":
            return parts
        return [torch.from_numpy(np.atleast_3d(part).transpose(2, 0, 1)[None].copy()).to(self.device) for part in parts]


def level_of_detail(uv: np.ndarray, size: int) -> np.ndarray | None:  # (h, w, 2) -> (h, w)
    """Choose the level of detail for each pixel: how often a texture of `size` texels is to be halved; None where nowhere.

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


def _of_four(part: np.ndarray) -> np.ndarray:  # (N, N, c) -> (N, N, 4), of one channel (N, N)
    if part.shape[2] == 1:
        return np.ascontiguousarray(part[..., 0])
    result = np.zeros((*part.shape[:2], 4), np.float32)
    result[..., : part.shape[2]] = part
    return result


def _halved(part: np.ndarray) -> np.ndarray:
    height, width = part.shape[:2]
    return cv2.resize(part, (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA)


def _mixed(first: Any, second: Any, share: np.ndarray) -> Any:  # (M,) or (M, c) twice, (M,) of the second
    weight = share if first.ndim == 1 else share[:, None]
    if isinstance(first, np.ndarray):
        return first + weight * (second - first)
    return torch.lerp(first, second, torch.from_numpy(weight).to(first.device))
