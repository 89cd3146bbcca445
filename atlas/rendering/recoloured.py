"""Recoloured layers: the edit's change of colour applied to a frame's own pixels, and the atlas's delta on top of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from atlas.geometry.texture import Texture
from atlas.maps.compositing import FEW, DeltaTexture
from atlas.maps.layer_view import FrameMaps, FramePart, LayerView, at_places, put_places
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

    def changed(self, view: LayerView, part: FramePart) -> Tensor | None:
        """Change the frame's own colours as far as the change applies: where it does not, they stay."""
        applies = self._partly(view)
        if applies is not None and not applies.any():
            return None
        light = view.light if self.change.unlit else None
        uv = torch.from_numpy(np.ascontiguousarray(view.uv)).to(self.device)
        colours = self.change.of_frame(part, uv, light)
        if outline := view.outline(self.own):
            number, mixed = outline.number, part.at(outline.number)
            own = mixed / part.top
            own += outline.share * (outline.own - own)
            there = None if light is None else at_places(light, number)[None]
            moved = self.change.of_colours(own[None], at_places(uv, number)[None], there)[0] - own
            put_places(colours, number, moved.mul_(part.top).add_(mixed))
        return colours if applies is None else applies.blended(part, colours)

    def _partly(self, view: LayerView) -> _Applies | None:
        """Look up how far the change applies; None for wholly everywhere."""
        if self.device.type != "cpu":
            return _Applies(self.shares.at_level(view.uv, None)[0], None)
        departs = self.shares.departing(view.uv, value=1.0)
        if departs is None:
            return None
        places = np.flatnonzero(departs & (view.seen > 0))
        if not len(places):
            return None
        if len(places) > FEW * departs.size:
            return _Applies(self.shares.at_level(view.uv, None)[0], None)
        shares = self.shares.at_level(view.alone(places).uv, None)[0].reshape(-1)[: len(places)]
        return _Applies(shares, places)


@dataclass(frozen=True)
class _Applies:
    """How far a change applies, at all pixels of a view or at some; at the others, wholly."""

    shares: Tensor  # (h, w), or (M,) at the places
    places: np.ndarray | None  # (M,) numbers of pixels, row by row

    def any(self) -> bool:
        """Whether it applies anywhere."""
        return self.places is not None or bool(self.shares.any())

    def blended(self, part: FramePart, colours: Tensor) -> Tensor:  # (h, w, 4), overwritten -> the same
        """Go from the frame's colours to the changed ones as far as the change applies."""
        if self.places is None:
            return torch.lerp(part.colours, colours, self.shares[..., None], out=colours)
        changed = at_places(colours, self.places)
        put_places(colours, self.places, torch.lerp(part.at(self.places), changed, self.shares[:, None]))
        return colours


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
