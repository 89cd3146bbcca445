"""Delta rendering and compositing: frames from maps and textures, one gather per layer; no network, no files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from atlas.geometry.boxes import Box, box_within, union_of
from atlas.geometry.texture import Texture
from atlas.maps.layer_view import FrameMaps, FramePart, LayerView, at_places, colours_of, layer_view, put_places, whole_share
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


BLOCK = 384
"""Pixels along the blocks of a frame in which an atlas is looked up, or has nothing to say."""
FEW = 0.4
"""Share of the pixels up to which they are worked on one by one."""
DeltaKind = Literal["lit", "gain", "unlit"]


@dataclass(frozen=True)
class Delta:
    """What an edit adds to a layer at some pixels: light * lit + gain * frame + unlit; (h, w, 4) each, None for 0.

    Of the four channels, red, green, blue and one of no meaning, all are computed: that is faster than of three.
    """

    lit: Tensor | None = None
    gain: Tensor | None = None
    unlit: Tensor | None = None


class LayerDelta(Protocol):
    """Where the delta of a layer comes from: its edited atlas, its own colours changed, or a frame that was edited itself."""

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        ...

    @property
    def texture(self) -> DeltaTexture | None:
        """What of it lies in the layer's atlas; its gain is of the frame as it is moved."""
        ...

    def changed(self, view: LayerView, part: FramePart) -> Tensor | None:  # (h, w, 4)
        """Find what becomes of the frame's own pixels in a view of the layer, in the frame's units; None where all stay.

        The tensor is the caller's own. Pixels that stay are the frame's, as near as floats have them.
        """
        ...


@dataclass(frozen=True)
class DeltaTexture:
    """A delta in a layer's atlas. All of it lies in one texture, so that places are computed once."""

    planes: Texture
    """3 channels for each of `kinds`, in their order."""
    kinds: tuple[DeltaKind, ...] = ("lit",)

    @property
    def device(self) -> torch.device:
        """Where it is looked up."""
        return self.planes.device

    @property
    def texture(self) -> DeltaTexture:
        """All of it lies in the atlas."""
        return self

    def changed(self, view: LayerView, part: FramePart) -> None:
        """The frame's own pixels stay as they are."""

    def at(self, uv: np.ndarray, level: np.ndarray | None) -> Delta:  # (h, w, 2), (h, w)
        """Look the delta up at pixels, smoothed as far as their level of detail says. Its tensors are the caller's own."""
        return Delta(**dict(zip(self.kinds, self.planes.at_level(uv, level), strict=True)))

    def views(self, view: LayerView) -> Iterator[tuple[LayerView, np.ndarray | Box]]:
        """View where it may not be 0: a few pixels alone, with their numbers; many in blocks, with their boxes in the view."""
        if self.device.type != "cpu":  # the whole, at once
            yield view, box_within(view.box, view.box)
            return
        reached = self.planes.departing(view.uv, view.level(self.planes.size))
        if reached is None:
            return
        reached &= view.seen > 0
        places = np.flatnonzero(reached)
        if len(places) <= FEW * reached.size:
            if len(places):
                yield view.alone(places), places
            return
        for part in view.parts(BLOCK):
            box = box_within(part.box, view.box)
            if reached[box].any():
                yield part, box


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
    views = {layer: view for layer in deltas if (view := layer_view(index, layer, maps, deltas[layer].device))}
    result = frame.copy()
    if not views:
        return result
    union, top, total = union_of([view.box for view in views.values()]), float(np.iinfo(frame.dtype).max), None
    for layer, view in views.items():
        part = FramePart(frame[view.box], view.device)
        edited = _edited(deltas[layer], view, part, own.get(layer) if own else None)
        if edited is None:
            continue
        if len(views) == 1:
            total = edited
        else:
            total = colours_of(frame[union], view.device) if total is None else total
            total[box_within(view.box, union)] += edited.sub_(part.colours)
    if total is not None:
        # A pixel whose terms are all 0 is still a whole number here, so rounding gives it back.
        result[union] = cv2.cvtColor(_rounded(total, top, frame.dtype), cv2.COLOR_RGBA2RGB)
    return result


def _edited(delta: LayerDelta, view: LayerView, part: FramePart, own: Texture | None) -> Tensor | None:  # (h, w, 4)
    """Find what becomes of a frame in a view of a layer, blended in by its opacity; None where it stays as it is."""
    colours = delta.changed(view, part)
    if delta.texture:
        colours = _through_atlas(delta.texture, view, colours, part, own)
    if colours is None:
        return None
    partly = np.flatnonzero(view.seen < 1)
    if view.device.type != "cpu" or len(partly) > FEW * view.seen.size:
        return torch.lerp(part.colours, colours, view.weight)
    if len(partly):
        weight = torch.from_numpy(view.seen.reshape(-1).take(partly))[:, None]
        put_places(colours, partly, torch.lerp(part.at(partly), at_places(colours, partly), weight))
    return colours


def _through_atlas(
    texture: DeltaTexture, view: LayerView, colours: Tensor | None, part: FramePart, own: Texture | None
) -> Tensor | None:  # (h, w, 4)
    """Add what goes through the atlas, light * lit + gain * colours + unlit, to a frame's colours in a view of the layer.

    colours: as they were changed before, overwritten; None where they are the frame's.
    """
    mixed = None
    for seen, where in texture.views(view):
        if colours is None:
            colours = part.colours.clone()
        if mixed is None and own and "gain" in texture.kinds:
            # What the gain is of: on the outline the layer's own colours. They need no copy of all others.
            mixed = view.outline(own)
            if mixed:
                unmixed = mixed.share * (mixed.own * part.top - part.at(mixed.number))
                put_places(colours, mixed.number, at_places(colours, mixed.number).add_(unmixed))
        if isinstance(where, np.ndarray):
            base = at_places(colours, where)
            added = _added(texture, seen, _filled_up(base, seen.seen.shape), part.top).reshape(-1, 4)
            put_places(colours, where, added[: len(where)].add_(base))
        else:
            here = colours[where]
            here.add_(_added(texture, seen, here, part.top))
    if mixed:
        assert colours is not None
        put_places(colours, mixed.number, at_places(colours, mixed.number).sub_(unmixed))
    return colours


def _added(texture: DeltaTexture, view: LayerView, colours: Tensor, top: float) -> Tensor:  # (h, w, 4) twice
    """Look up what is added to colours that a view of the layer shows, in the frame's units."""
    delta = texture.at(view.uv, view.level(texture.planes.size))
    added = torch.zeros_like(colours) if delta.lit is None else delta.lit.mul_(top)
    if delta.lit is not None and view.light is not None:
        added.mul_(view.light)
    if delta.gain is not None:
        added.addcmul_(delta.gain, colours)
    if delta.unlit is not None:
        added.add_(delta.unlit, alpha=top)
    return added


def _filled_up(values: Tensor, shape: tuple[int, ...]) -> Tensor:  # (M, 4) -> (*shape, 4), the last one repeated
    missing = shape[0] * shape[1] - len(values)
    return torch.cat([values, values[-1:].expand(missing, 4)]).view(*shape, 4)


def _rounded(colours: Tensor, top: float, dtype: np.dtype) -> np.ndarray:
    return colours.add_(0.5).clamp_(0, top).cpu().numpy().astype(dtype)


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
    total = torch.zeros(maps.height, maps.width, 4, device=device)
    for layer, colours in textures.items():
        view = layer_view(index, layer, maps, device)
        if view:
            (colour,) = colours.at_level(view.uv, None)
            if changes and (change := changes.get(layer)):
                colour += change.at_level(view.uv, view.level(change.size))[0]
            if view.light is not None:
                colour.mul_(view.light)
            total[view.box].addcmul_(view.weight, colour)
    return np.ascontiguousarray(total.cpu().numpy()[..., :3])


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
    source = colours_of(frame[union], next(iter(textures.values())).device)
    total, alpha = torch.zeros_like(source), torch.zeros_like(source[..., 0])
    for layer, view in views.items():
        within = box_within(view.box, union)
        seen = source[within]
        ((own,), delta) = textures[layer].at_level(view.uv, None), deltas[layer]
        own = own.mul_(top) if view.light is None else own.mul_(view.light).mul_(top)
        colour = torch.lerp(own, seen, whole_share(view.opacity)[..., None]) if detail else own
        edited, part = colour.clone(), FramePart(frame[view.box], view.device)
        if (changed := delta.changed(view, part)) is not None:
            edited += changed.sub_(seen)
        if delta.texture:
            _through_atlas(delta.texture, view, edited, part, None)  # in place
        total[within].addcmul_(view.weight, edited)
        alpha[within] += view.opacity
    total /= alpha.clamp(min=1e-6)[..., None]
    total[..., 3] = alpha * top
    result[union] = _rounded(total, top, frame.dtype)
    return result


def fit_textures(maps: Maps, device: torch.device | str = "cpu") -> dict[str, Texture]:
    """Make a texture of every layer's colours in the fit, 3 planes each."""
    return {layer: Texture(maps.atlas(layer)[..., :3], device) for layer in maps.layers}
