"""Delta rendering and compositing: frames from maps and textures, one gather per layer; no network, no files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from atlas.geometry.boxes import box_within, union_of
from atlas.geometry.texture import Texture
from atlas.maps.layer_view import FrameMaps, LayerView, Outline, layer_view, whole_share
from atlas.maps.maps import Maps


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


DeltaKind = Literal["lit", "gain", "unlit"]


@dataclass(frozen=True)
class Delta:
    """What an edit adds to a layer at some pixels: light * lit + gain * frame + unlit; three planes each, None for 0."""

    lit: list[Tensor] | None = None
    gain: list[Tensor] | None = None
    unlit: list[Tensor] | None = None


class LayerDelta(Protocol):
    """Where the delta of a layer comes from: its edited atlas, or a frame that was edited itself."""

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        ...

    def seen_in(self, view: LayerView, frame: np.ndarray) -> Delta:  # frame: (h, w, 3), what the view shows of it
        """Find the delta of a view of the layer. Its planes are the caller's own."""
        ...


@dataclass(frozen=True)
class DeltaTexture:
    """A delta in a layer's atlas. All of its planes lie in one texture, so that they are looked up at once."""

    texture: Texture
    """3 planes for each of `kinds`, in their order."""
    kinds: tuple[DeltaKind, ...] = ("lit",)

    @property
    def device(self) -> torch.device:
        """Where it is looked up."""
        return self.texture.device

    def at(self, uv: np.ndarray, seen: np.ndarray) -> Delta:  # (h, w, 2), (h, w)
        """Look the delta up at pixels, smoothed where it would shimmer. Its planes are the caller's own."""
        planes = self.texture.at(uv, seen)
        return Delta(**{kind: planes[3 * number : 3 * number + 3] for number, kind in enumerate(self.kinds)})

    def seen_in(self, view: LayerView, frame: np.ndarray) -> Delta:
        """Look the delta up at the pixels of a view."""
        return self.at(view.uv, view.seen)


@torch.no_grad()
def add_deltas(
    frame: np.ndarray,  # (H, W, 3) uint8 or uint16
    index: int,
    maps: FrameMaps,
    deltas: Mapping[str, LayerDelta],
    own: Mapping[str, Texture] | None = None,  # layer -> 3 planes: the colours that were edited
) -> np.ndarray:  # (H, W, 3), of the frame's type
    """Delta rendering: frame + sum over layers of opacity * (light * lit(uv) + gain(uv) * frame + unlit(uv)), rounded once.

    On outlines the frame's colour is mixed with what lies behind, which is not to be changed as the layer is: where
    `own` is given, it takes the frame's place in the gain there. Where every term is 0 the result is the frame, to the bit.
    """
    views = {layer: layer_view(index, layer, maps, deltas[layer].device) for layer in deltas}
    boxes = [view.box for view in views.values() if view]
    result = frame.copy()
    if not boxes:
        return result
    union, top = union_of(boxes), float(np.iinfo(frame.dtype).max)
    device = next(iter(deltas.values())).device
    source = [torch.from_numpy(plane.astype(np.float32)).to(device) for plane in cv2.split(frame[union])]
    total = [plane.clone() for plane in source]
    for layer, view in views.items():
        if view:
            within = box_within(view.box, union)
            delta = deltas[layer].seen_in(view, frame[view.box])
            outline = Outline.of(view, own[layer], top) if own and delta.gain else None
            for channel in range(3):
                added = delta.lit[channel].mul_(top) if delta.lit else torch.zeros_like(view.opacity)
                if view.light:
                    added.mul_(view.light[channel])
                if delta.gain:
                    added.addcmul_(delta.gain[channel], source[channel][within])
                if delta.gain and outline:
                    place = outline.place
                    mixed = outline.own[channel] - source[channel][within][place]
                    added[place] += delta.gain[channel][place] * outline.share * mixed
                if delta.unlit:
                    added.add_(delta.unlit[channel], alpha=top)
                total[channel][within].addcmul_(view.opacity, added)
    # A pixel whose terms are all 0 is still a whole number here, so rounding gives it back.
    rounded = [plane.add_(0.5).clamp_(0, top).cpu().numpy().astype(frame.dtype) for plane in total]
    result[union] = cv2.merge(rounded)
    return result


@torch.no_grad()
def composite_frame(
    index: int,
    maps: FrameMaps,
    textures: Mapping[str, Texture],  # layer -> 3 planes of colour; every layer of the fit
    changes: Mapping[str, Texture] | None = None,  # layer -> 3 planes that are added to these
) -> np.ndarray:  # (H, W, 3) float32
    """Composite a frame of the layers alone: sum over them of opacity * light * (texture + change)(uv).

    The textures are those of a fit, which was solved for looking them up at full size; changes are smoothed where they
    would shimmer.
    """
    device = next(iter(textures.values())).device
    total = torch.zeros(3, maps.height, maps.width, device=device)
    for layer, colours in textures.items():
        view = layer_view(index, layer, maps, device)
        if view:
            planes = colours.at(view.uv, smooth=False)
            if changes and layer in changes:
                planes = [a + b for a, b in zip(planes, changes[layer].at(view.uv, view.seen), strict=True)]
            for channel, plane in enumerate(planes):
                if view.light:
                    plane.mul_(view.light[channel])
                total[channel][view.box].addcmul_(view.opacity, plane)
    return cv2.merge(list(total.cpu().numpy()))


@torch.no_grad()
def layers_alone(
    frame: np.ndarray,  # (H, W, 3) uint8 or uint16
    index: int,
    maps: FrameMaps,
    textures: Mapping[str, Texture],  # layer -> 3 planes of colour: the layers that are shown
    deltas: Mapping[str, LayerDelta],
    *,
    detail: bool = True,
) -> np.ndarray:  # (H, W, 4) of the frame's type, not premultiplied; alpha = what one sees of these layers
    """Render the edited layers without all others, on transparent: what `add_deltas` makes of them.

    Where a layer covers a pixel whole, its colour is that of the edited frame. On outlines the frame's colour is mixed
    with what lies behind, so there the layer's own takes its place; without `detail` it does everywhere.
    """
    result = np.zeros((*frame.shape[:2], 4), frame.dtype)
    views = {layer: view for layer in textures if (view := layer_view(index, layer, maps, textures[layer].device))}
    if not views:
        return result
    union, top = union_of([view.box for view in views.values()]), float(np.iinfo(frame.dtype).max)
    device = next(iter(textures.values())).device
    source = [torch.from_numpy(plane.astype(np.float32)).to(device) for plane in cv2.split(frame[union])]
    total = [torch.zeros_like(plane) for plane in (*source, source[0])]
    for layer, view in views.items():
        within = box_within(view.box, union)
        own, delta = textures[layer].at(view.uv, smooth=False), deltas[layer].seen_in(view, frame[view.box])
        whole = whole_share(view.opacity) if detail else torch.zeros_like(view.opacity)
        for channel in range(3):
            light = view.light[channel] if view.light else 1.0
            colour = torch.lerp(own[channel] * light * top, source[channel][within], whole)
            added = delta.lit[channel] * light * top if delta.lit else torch.zeros_like(colour)
            if delta.gain:
                added.addcmul_(delta.gain[channel], colour)
            if delta.unlit:
                added.add_(delta.unlit[channel], alpha=top)
            total[channel][within].addcmul_(view.opacity, colour + added)
        total[3][within] += view.opacity
    alpha = total[3].clamp(min=1e-6)
    planes = [*(plane / alpha for plane in total[:3]), total[3] * top]
    rounded = [plane.add_(0.5).clamp_(0, top).cpu().numpy().astype(frame.dtype) for plane in planes]
    result[union] = cv2.merge(rounded)
    return result


def fit_textures(maps: Maps, device: torch.device | str = "cpu") -> dict[str, Texture]:
    """Make a texture of every layer's colours in the fit, 3 planes each."""
    return {layer: Texture(maps.atlas(layer)[..., :3], device) for layer in maps.layers}
