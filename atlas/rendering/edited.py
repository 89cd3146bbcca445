"""Edited atlases as textures: read and checked, then made into the deltas that delta rendering adds to the frames."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from atlas.clip.edits import Edit
from atlas.clip.keep import open_coverage, read_keep
from atlas.errors import AGGREGATE, UserError
from atlas.geometry.boxes import bounding_box
from atlas.geometry.filling import nearest_seen
from atlas.geometry.texture import Texture
from atlas.maps.compositing import DeltaKind, DeltaTexture
from atlas.maps.maps import Maps
from atlas.options.render import Light, Transfer
from atlas.recolour.change import ColourChange, recoloured_atlas
from atlas.rendering.transfer import transferred
from atlas.storage.images import read_image, to_8_bit, to_float
from atlas.storage.pictures import WantedSize
from atlas.storage.stamps import digest, read_json

RIM = 8
"""Texels around what was ever seen that an edit is carried on over."""


@dataclass
class EditedLayer:
    """A layer's edited atlas and what it is compared with, as stored."""

    edited: np.ndarray
    """(N, N, 4) uint8 or uint16, alpha = coverage."""
    reference: np.ndarray
    """(N, N, 4) uint8 or uint16, alpha = where it is known."""
    unlit: float = 0.0
    """1 for an edit that maps the colours seen, light and all; 0 for one that takes on the layer's light."""
    change: ColourChange | None = None
    """What was done to the layer's colours first; the reference has it already."""


def read_edited_layers(edit: Edit, maps: Maps, without: Collection[str] = ()) -> dict[str, EditedLayer]:
    """Read the layers of an edit that have an edited atlas, in the fit's order, `without` some.

    The images may have been painted over: 8 or 16 bit, grey, RGB (then opaque) or RGBA. A layer without a reference is
    compared with the fit's atlas. What keep/<layer>.png keeps is not covered. UserError where an image has not the size
    of the fit's atlas.
    """
    layers = {}
    for layer in maps.layers:
        path, reference = edit.atlas_path(layer), edit.reference_path(layer)
        if layer in without or not path.is_file():
            continue
        unlit, named = _recorded(edit.lighting_path(layer)) if reference.is_file() else (0.0, None)
        if not reference.is_file():
            reference = maps.atlas_path(layer)
        edited = opened(_of_size(path, maps, layer), kept(edit, maps, layer))
        change = None if named is None else _change(edit, maps, layer, named)
        layers[layer] = EditedLayer(edited, _of_size(reference, maps, layer), unlit, change)
    return layers


def _change(edit: Edit, maps: Maps, layer: str, named: str) -> ColourChange:
    """Read the colour change of a layer, of the digest `named`; it does not apply to what keep/<layer>.png keeps."""
    path = edit.change_path(layer)
    if not path.is_file() or digest(path) != named:
        raise UserError(
            f"{path} is missing or was changed, and {edit.atlas_path(layer)} means nothing without it: run {AGGREGATE} again"
        )
    change, keep = ColourChange.load(path), kept(edit, maps, layer)
    if keep is None:
        return change
    share = cv2.resize(change.share, keep.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return replace(change, share=open_coverage(share, keep))


def _recorded(path: Path) -> tuple[float, str | None]:
    """Read how far an edit is unlit, as the aggregate stage measured it, and the digest of its colour change; 0 and None where
    it did not."""
    recorded = read_json(path) if path.is_file() else {}
    recorded = recorded if isinstance(recorded, dict) else {}
    unlit, change = recorded.get("unlit", 0.0), recorded.get("change")
    if isinstance(unlit, bool) or not isinstance(unlit, int | float) or not 0 <= unlit <= 1:
        raise UserError(f"{path} is damaged: run {AGGREGATE} again")
    return float(unlit), change if isinstance(change, str) else None


def kept(edit: Edit, maps: Maps, layer: str) -> np.ndarray | None:  # (N, N) float32
    """Read where the user's keep-mask keeps a layer as it was, 1 = keep; None without a mask."""
    mask = edit.keep_path(layer)
    return read_keep(mask, maps.atlas_path(layer), maps.atlas_size(layer)) if mask.is_file() else None


def opened(
    edited: np.ndarray,  # (h, w, 4) uint8 or uint16
    keep: np.ndarray | None,  # (h, w) in [0, 1]
) -> np.ndarray:  # (h, w, 4) of the same type
    """Take out of an edited atlas's coverage what is kept as it was."""
    if keep is None:
        return edited
    most = np.iinfo(edited.dtype).max
    alpha = open_coverage(edited[..., 3] / most, keep)
    return np.concatenate([edited[..., :3], (alpha * most + 0.5).astype(edited.dtype)[..., None]], -1)


def _of_size(path: Path, maps: Maps, layer: str) -> np.ndarray:
    advice = f"save it at that size (the original is {maps.atlas_path(layer)})"
    return read_image(path, mode="rgba", size=WantedSize(*maps.atlas_size(layer), f"the atlas of {layer} is", advice))


def delta_textures(
    layers: dict[str, EditedLayer],
    maps: Maps,
    transfer: Transfer = "local",
    device: torch.device | str = "cpu",
    *,
    light: Light = "auto",
) -> dict[str, DeltaTexture]:
    """Make the delta of each edited layer that delta rendering adds: what is lit, a gain of the frame, what is unlit.

    "additive": coverage * (edited - reference) alone. "local": coverage * (edited - gain * reference), and
    coverage * (gain - 1), with the gain of `atlas.rendering.transfer`: the edit as it is plus the gain times the residual.
    Light "off": the first is not lit but unlit; "auto": as far as the edit maps colours, light and all; "on": nowhere.
    Kinds of planes that would be 0 everywhere are left out.
    """
    deltas = {}
    for layer, pair in layers.items():
        unknown = (pair.reference[..., 3] == 0) & (pair.edited[..., 3] > 0)  # compared with the fit's own colours, changed
        atlas = recoloured_atlas(maps.atlas(layer), pair.change) if unknown.any() else maps.atlas(layer)
        kinds, planes = delta_planes(pair, atlas, transfer, light)
        deltas[layer] = DeltaTexture(Texture(planes, device), kinds)
    return deltas


def own_textures(layers: dict[str, EditedLayer], maps: Maps, device: torch.device | str = "cpu") -> dict[str, Texture]:
    """Make textures of the unedited colours of each edited layer, 3 planes; the fit's where the edit does not know them."""
    textures = {}
    for layer, pair in layers.items():
        atlas, colours = maps.atlas(layer), to_float(pair.reference[..., :3])
        unknown = (pair.reference[..., 3] == 0) if pair.change is None else np.ones(colours.shape[:2], bool)
        colours[unknown] = atlas[unknown, :3]
        _carry_over_rim(colours, ~unknown | (atlas[..., 3] > 0))
        textures[layer] = Texture(colours, device)
    return textures


def fit_colours(maps: Maps, layers: Sequence[str], device: torch.device | str = "cpu") -> dict[str, Texture]:
    """Make textures of layers' colours in the fit, 3 planes, carried on over the rim of what was ever seen."""
    textures = {}
    for layer in layers:
        colours, seen = maps.atlas(layer)[..., :3].copy(), maps.atlas(layer)[..., 3] > 0
        _carry_over_rim(colours, seen)
        textures[layer] = Texture(colours, device)
    return textures


def delta_planes(
    pair: EditedLayer,
    atlas: np.ndarray,  # (h, w, 4) float32, the fit's own, all of it or the part that the pair is
    transfer: Transfer = "local",
    light: Light = "auto",
) -> tuple[tuple[DeltaKind, ...], np.ndarray]:  # kinds, (h, w, 3 * kinds) float32
    """Compute the planes of a delta texture, 3 for each kind, as `delta_textures` says what they hold."""
    local = transfer == "local"
    some_unlit = light == "off" or (light == "auto" and local and pair.unlit > 0)
    kinds: tuple[DeltaKind, ...] = ("lit", "gain", "unlit") if some_unlit else ("lit", "gain") if local else ("lit",)
    result = np.zeros((*atlas.shape[:2], 3 * len(kinds)), np.float32)
    box = bounding_box(pair.edited[..., 3] > 0, RIM)
    if box is None:
        return kinds, result
    change, reference, coverage = difference(EditedLayer(pair.edited[box], pair.reference[box]), atlas[box])
    gain, mapped = np.ones_like(change), np.zeros_like(change)
    if local:
        gain, mapped = transferred(reference + change, reference, coverage)
        # change + (1 - gain) * reference: written so that it is exactly 0 where nothing was changed.
        change += (1 - gain) * reference
    unlit = np.ones_like(change) if light == "off" else mapped * (pair.unlit if light == "auto" else 0)
    change = np.concatenate([(1 - unlit) * change, gain - 1, unlit * change], -1)[..., : result.shape[2]]
    change *= coverage[..., None]
    _carry_over_rim(change, atlas[box][..., 3] > 0)
    result[box] = change
    return kinds, result


def _carry_over_rim(change: np.ndarray, seen: np.ndarray) -> None:
    """Continue a change over the rim, in place: texels just outside of what was ever seen take on what the nearest seen has.

    No pixel is wholly there, but those on a layer's outline mix them in: nothing would leave a fringe of the old colour.
    """
    if seen.all() or not seen.any():
        return
    distance, nearest = nearest_seen(seen)
    rim = ~seen & (distance <= RIM)
    change[rim] = change.reshape(-1, change.shape[-1])[nearest[rim]]


def full_changes(layers: dict[str, EditedLayer], maps: Maps, device: torch.device | str = "cpu") -> dict[str, Texture]:
    """Make textures of what full rendering adds to the fit's colours: coverage * (edited - the fit's), 3 planes each."""
    changes = {}
    for layer, pair in layers.items():
        atlas, edited = maps.atlas(layer), to_float(pair.edited)
        recoloured = recoloured_atlas(atlas, pair.change)[..., :3]
        change = _whole(edited[..., 3], atlas[..., 3])[..., None] * (edited[..., :3] - recoloured)
        change += recoloured - atlas[..., :3]
        _carry_over_rim(change, atlas[..., 3] > 0)
        changes[layer] = Texture(change, device)
    return changes


def difference(
    pair: EditedLayer,
    atlas: np.ndarray,  # (N, N, 4) float32, the fit's own
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # (N, N, 3), (N, N, 3), (N, N) float32
    """Subtract the reference from the edited atlas, exactly 0 where both are the same; returns that, reference and coverage.

    A painter may have saved 16 bits as 8: then the reference is rounded alike, so that what was not painted stays 0.
    Where the reference is not known (alpha 0) a painted texel is compared with the fit's atlas.
    """
    edited, reference = pair.edited, pair.reference
    if edited.dtype == np.uint8 and reference.dtype == np.uint16:
        reference = to_8_bit(reference)
    new, old = to_float(edited), to_float(reference)
    known, coverage = old[..., 3] > 0, _whole(new[..., 3], atlas[..., 3])
    new, old = new[..., :3], old[..., :3]
    change = new - old
    painted = ~known & change.any(-1)
    old[painted] = atlas[painted, :3]
    change[painted] = new[painted] - old[painted]
    return change, old, coverage


def _whole(coverage: np.ndarray, seen: np.ndarray) -> np.ndarray:  # (N, N), (N, N) -> (N, N)
    """Divide coverage by the layer's own alpha where that fades: a painter who keeps that alpha has painted there too."""
    return np.minimum(coverage / np.where(seen > 0, seen, 1), 1)
