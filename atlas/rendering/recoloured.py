"""Recoloured layers: the edit's change of colour applied to a frame's own pixels, and the atlas's delta on top of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from atlas.geometry.boxes import box_within
from atlas.geometry.texture import Texture
from atlas.maps.compositing import BLOCK, DeltaTexture
from atlas.maps.layer_view import FrameMaps, LayerView
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

    def moved(self, view: LayerView, frame: np.ndarray, source: Tensor) -> Tensor | None:
        """Find how the change moves the frame's own colours; exactly 0 where it does not apply."""
        shares = [(part.box, self._share(part)) for part in view.parts(BLOCK)]
        if all(isinstance(share, float) and share == 0 for _, share in shares):
            return None
        top = float(np.iinfo(frame.dtype).max)
        light = view.light if self.change.unlit else None
        uv = torch.from_numpy(np.ascontiguousarray(view.uv)).to(self.device)
        moved = self.change.of_frame(frame, source, uv, light).mul_(top).sub_(source)
        if outline := view.outline(self.own):
            place = outline.place
            colours = source[place] / top
            colours += outline.share * (outline.own - colours)
            there = None if light is None else light[place][None]
            moved[place] = (self.change.of_colours(colours[None], uv[place][None], there)[0] - colours) * top
        for box, share in shares:
            if not isinstance(share, float) or share != 1:
                moved[box_within(box, view.box)] *= share
        return moved

    def _share(self, part: LayerView) -> Tensor | float:
        """Look up how far the change applies, (h, w, 1), or the number for all of a part of a view."""
        value = self.shares.uniform(part.uv)
        return self.shares.at_level(part.uv, None)[0][..., None] if value is None else float(value[0])


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
