"""Renderers: what turns a frame into the edited one, made once for all frames of a rendering."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from atlas.clip.clip import WHOLE_FRAME, Clip
from atlas.geometry.texture import Texture
from atlas.maps.compositing import DeltaTexture, FrameMaps, LayerDelta, add_deltas, composite_frame, fit_textures, layers_alone
from atlas.maps.lay_over import lay_over, whole_on_transparent
from atlas.maps.maps import Maps
from atlas.rendering.edited import EditedLayer, delta_textures, fit_colours, full_changes, own_textures
from atlas.rendering.edited_frames import EditedFrames
from atlas.rendering.recoloured import MattedMaps, RecolouredDelta
from atlas.rendering.settings import RenderSettings
from atlas.storage.images import to_uint8, to_uint16

Renderer = Callable[[int, np.ndarray], np.ndarray]
"""From frame number and source frame (H, W, 3) to the result, (H, W, 3) or (H, W, 4) of its type."""


def layers_renderer(
    settings: RenderSettings,
    clip: Clip,
    maps: Maps,
    sized: FrameMaps,  # the same at the size that is rendered
    layers: dict[str, EditedLayer],
    laid: EditedFrames | None,
    device: torch.device,
) -> Renderer:
    """Make the renderer of layers: through their edited atlases, by the frames that were edited, or both."""
    if settings.mode == "full":
        return _composited(settings, maps, sized, layers, device)
    own = own_textures(layers, maps, device) if settings.transfer == "local" else None
    deltas = layer_deltas(settings, maps, layers, own, device)
    if settings.alone:
        shown = {*layers, *(laid.layers if laid else ())}
        textures = _some(fit_textures(maps, device), shown)

        def alone(index: int, frame: np.ndarray) -> np.ndarray:
            edited = laid.over(index, frame) if laid else {}
            both: dict[str, LayerDelta] = {**deltas, **edited}
            return layers_alone(frame, index, sized, textures, both)

        return alone
    sized = matted(sized, layers, clip)
    if laid:
        return lambda index, frame: lay_over(frame, index, laid.over(index, frame), sized, deltas, own)
    return lambda index, frame: add_deltas(frame, index, sized, deltas, own)


def matted(sized: FrameMaps, layers: dict[str, EditedLayer], clip: Clip) -> FrameMaps:
    """Take the mattes of colour changes for the opacities of their layers, where there are some."""
    mattes = {layer: pair.change.matte for layer, pair in layers.items() if pair.change and pair.change.matte}
    return MattedMaps(sized, mattes, clip.selection) if mattes else sized


def layer_deltas(
    settings: RenderSettings,
    maps: Maps,
    layers: dict[str, EditedLayer],
    own: dict[str, Texture] | None,  # the layers' colours where they are known already: looked up once, they serve twice
    device: torch.device,
) -> dict[str, LayerDelta]:
    """Make the delta of each edited layer, after the change of its colours where it has one."""
    textures = delta_textures(layers, maps, settings.transfer, device, light=settings.light)
    recoloured = {layer: pair.change for layer, pair in layers.items() if pair.change}
    colours = own or fit_colours(maps, list(recoloured), device)
    return {
        layer: RecolouredDelta(delta, change, change.shares(device), colours[layer])
        if (change := recoloured.get(layer))
        else delta
        for layer, delta in textures.items()
    }


def whole_renderer(settings: RenderSettings, laid: EditedFrames) -> Renderer:
    """Make the renderer of whole frames that were edited."""

    def one(index: int, frame: np.ndarray) -> np.ndarray:
        edited = laid.over(index, frame)
        return whole_on_transparent(edited[WHOLE_FRAME]) if settings.alone else lay_over(frame, index, edited)

    return one


def _composited(
    settings: RenderSettings, maps: Maps, sized: FrameMaps, layers: dict[str, EditedLayer], device: torch.device
) -> Renderer:
    """Make the renderer of the layers alone, without the frames' own detail."""
    textures, changes = fit_textures(maps, device), full_changes(layers, maps, device)
    if settings.alone:
        shown = _some(textures, set(layers))
        deltas = {layer: DeltaTexture(change) for layer, change in changes.items()}
        return lambda index, frame: layers_alone(frame, index, sized, shown, deltas, detail=False)
    rounded = to_uint16 if settings.deep else to_uint8
    return lambda index, frame: rounded(composite_frame(index, sized, textures, changes))


def _some(textures: dict[str, Texture], layers: set[str]) -> dict[str, Texture]:
    return {layer: texture for layer, texture in textures.items() if layer in layers}
