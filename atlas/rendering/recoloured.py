"""Recoloured layers: the edit's change of colour applied to a frame's own pixels, and the atlas's delta on top of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from atlas.geometry.texture import Texture
from atlas.maps.compositing import Delta, DeltaTexture
from atlas.maps.layer_view import FrameMaps, LayerView, Outline
from atlas.recolour.change import ColourChange
from atlas.recolour.matte import Matte


@dataclass(frozen=True)
class RecolouredDelta:
    """The delta of a layer whose colours are changed first: share * (F(frame) - frame), and its atlas's delta to that."""

    texture: DeltaTexture
    change: ColourChange
    shares: Texture
    """1 plane: how far the change applies."""
    own: Texture
    """3 planes: the layer's colours in the fit, for outlines."""

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        return self.texture.device

    def seen_in(self, view: LayerView, frame: np.ndarray) -> Delta:
        """Find what is added to a view of the layer; exactly 0 where the change does not apply and the atlas adds nothing."""
        delta = self.texture.seen_in(view, frame)
        (share,) = self.shares.at(view.uv, smooth=False)
        share = share * (view.opacity > 0)
        if not bool((share > 0).any()):
            return delta
        top = float(np.iinfo(frame.dtype).max)
        colours = [torch.from_numpy(plane.astype(np.float32)).to(self.device) / top for plane in cv2.split(frame)]
        uv = torch.from_numpy(np.ascontiguousarray(view.uv)).to(self.device)
        changed = self.change.whole(colours, uv, view.light, frame)
        if outline := Outline.of(view, self.own, 1.0):
            place = outline.place
            for plane, own in zip(colours, outline.own, strict=True):
                plane[place] += outline.share * (own - plane[place])
            there = [[plane[place][None] for plane in planes] for planes in (colours, view.light)]
            for plane, values in zip(changed, self.change.whole(there[0], uv[place][None], there[1]), strict=True):
                plane[place] = values[0]
        moved = [share * (new - old) for new, old in zip(changed, colours, strict=True)]
        if delta.gain:
            moved = [plane + plane * gain for plane, gain in zip(moved, delta.gain, strict=True)]
        if delta.unlit:
            moved = [plane + unlit for plane, unlit in zip(moved, delta.unlit, strict=True)]
        return Delta(delta.lit, delta.gain, moved)


class MattedMaps:
    """Maps in which the edit's own matte takes the place of the opacity of the layers whose keyframes were composited."""

    def __init__(self, maps: FrameMaps, mattes: Mapping[str, Matte], selection: Callable[[str, int], np.ndarray]) -> None:
        """selection: the clip's mask of a layer in a frame, (h, w) float32 in [0, 1], of any size."""
        self.maps, self.height, self.width = maps, maps.height, maps.width
        self.mattes, self.selection = mattes, selection

    def uv(self, layer: str, frame: int) -> np.ndarray:
        """(H, W, 2) float32 in [-1, 1]."""
        return self.maps.uv(layer, frame)

    def opacity(self, layer: str, frame: int) -> np.ndarray:
        """(H, W) float32: the matte, or without one the opacity."""
        opacity = self.maps.opacity(layer, frame)
        if layer not in self.mattes:
            return opacity
        mask = self.selection(layer, frame)
        if mask.shape != opacity.shape:
            mask = cv2.resize(mask, opacity.shape[::-1], interpolation=cv2.INTER_LINEAR)
        return self.mattes[layer].at(torch.from_numpy(np.ascontiguousarray(opacity)), torch.from_numpy(mask)).numpy()

    def light(self, layer: str, frame: int) -> np.ndarray:
        """(H, W, 3) float32 gain."""
        return self.maps.light(layer, frame)

    def has_light(self, layer: str) -> bool:
        """Whether the fit models the layer's light."""
        return self.maps.has_light(layer)
