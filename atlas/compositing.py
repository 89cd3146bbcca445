"""Frames from maps and textures: one gather per layer, restricted to where the layer is; no network, no files.

A texture is an (N, N, 3) tensor of colours, or of colour differences, on the device that renders.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from atlas.maps import Maps
from atlas.warp import sample

Box = tuple[slice, slice]


class FrameMaps(Protocol):
    """Maps at the size that is rendered: those of a fit, or `ScaledMaps` of them."""

    height: int
    width: int

    def uv(self, layer: str, frame: int) -> np.ndarray: ...
    def opacity(self, layer: str, frame: int) -> np.ndarray: ...
    def light(self, layer: str, frame: int) -> np.ndarray: ...
    def has_light(self, layer: str) -> bool: ...


class ScaledMaps:
    """The maps of a fit at another frame size, interpolated bilinearly. Opacity stays exactly 0 away from the layer."""

    def __init__(self, maps: Maps, height: int, width: int) -> None:
        self.maps, self.height, self.width = maps, height, width

    def uv(self, layer: str, frame: int) -> np.ndarray:
        """(H, W, 2) float32."""
        return self._scaled(self.maps.uv(layer, frame))

    def opacity(self, layer: str, frame: int) -> np.ndarray:
        """(H, W) float32."""
        return self._scaled(self.maps.opacity(layer, frame))

    def light(self, layer: str, frame: int) -> np.ndarray:
        """(H, W, 3) float32."""
        return self._scaled(self.maps.light(layer, frame))

    def has_light(self, layer: str) -> bool:
        """Whether the fit models the layer's light."""
        return self.maps.has_light(layer)

    def _scaled(self, image: np.ndarray) -> np.ndarray:
        # OpenCV's pixel centres are those of align_corners=False.
        return cv2.resize(image, (self.width, self.height), interpolation=cv2.INTER_LINEAR)


def texture(image: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """(H, W, C) float array as a texture: stored plane by plane, as the gather wants it."""
    planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)).to(device)
    return planes.permute(1, 2, 0)


@torch.no_grad()
def add_deltas(
    frame: np.ndarray,  # (H, W, 3) uint8
    index: int,
    maps: FrameMaps,
    deltas: Mapping[str, Tensor],  # layer -> (N, N, 6): a part that light multiplies, and one that the frame multiplies
) -> np.ndarray:  # (H, W, 3) uint8
    """frame + sum over the layers of opacity * (light * delta(uv) + gain(uv) * frame), rounded once.

    Where every term is 0 the result is the frame, to the bit.
    """
    found = {layer: _visible(maps.opacity(layer, index)) for layer in deltas}
    boxes = [box for box, _ in found.values() if box is not None]
    result = frame.copy()
    if not boxes:
        return result
    union = _union(boxes)
    device = next(iter(deltas.values())).device
    source = torch.from_numpy(frame[union]).to(device, torch.float32)
    total = source.clone()
    for layer, (box, opacity) in found.items():
        if box is not None:
            within = _within(box, union)
            uv, seen, light = _look_up(opacity, box, index, layer, maps, device)
            added, gained = sample(deltas[layer], uv).split(3, -1)
            total[within] += seen * (255 * (added if light is None else added * light) + gained * source[within])
    # A pixel whose terms are all 0 is still a whole number here, so rounding gives it back.
    result[union] = total.add_(0.5).clamp_(0, 255).to(torch.uint8).cpu().numpy()
    return result


@torch.no_grad()
def composite_frame(
    index: int,
    maps: FrameMaps,
    textures: Mapping[str, Tensor],  # layer -> (N, N, 3) colours; every layer of the fit
) -> np.ndarray:  # (H, W, 3) float32
    """Sum over the layers of opacity * light * texture(uv): the frame as the layers alone make it."""
    device = next(iter(textures.values())).device
    total = torch.zeros(maps.height, maps.width, 3, device=device)
    for layer, colours in textures.items():
        box, opacity = _visible(maps.opacity(layer, index))
        if box is not None:
            uv, seen, light = _look_up(opacity, box, index, layer, maps, device)
            total[box] += seen * sample(colours, uv) * (1 if light is None else light)
    return total.cpu().numpy()


def _look_up(
    opacity: np.ndarray, box: Box, index: int, layer: str, maps: FrameMaps, device: torch.device
) -> tuple[Tensor, Tensor, Tensor | None]:
    """uv (h, w, 2), opacity (h, w, 1) and light (h, w, 3; None for 1) of a layer inside the box."""
    uv, seen = (torch.from_numpy(array[box]).to(device) for array in (maps.uv(layer, index), opacity[..., None]))
    light = torch.from_numpy(maps.light(layer, index)[box]).to(device) if maps.has_light(layer) else None
    return uv, seen, light


def _visible(opacity: np.ndarray) -> tuple[Box | None, np.ndarray]:
    """The box that holds every pixel with opacity above 0 (None where there is none), and the opacity."""
    rows, columns = np.flatnonzero(opacity.any(1)), np.flatnonzero(opacity.any(0))
    if not len(rows):
        return None, opacity
    return (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)), opacity


def _union(boxes: list[Box]) -> Box:
    rows, columns = zip(*boxes, strict=True)
    return (
        slice(min(s.start for s in rows), max(s.stop for s in rows)),
        slice(min(s.start for s in columns), max(s.stop for s in columns)),
    )


def _within(box: Box, outer: Box) -> Box:
    rows, columns = (slice(s.start - o.start, s.stop - o.start) for s, o in zip(box, outer, strict=True))
    return rows, columns
