"""The atlases of an edit, checked, as the textures that rendering looks up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from atlas.compositing import texture
from atlas.errors import UserError
from atlas.files import read_image, to_float
from atlas.maps import Maps
from atlas.transfer import left_over_gain

Transfer = Literal["local", "additive"]


@dataclass
class EditedLayer:
    """A layer's edited atlas and what it is compared with, as stored."""

    edited: np.ndarray
    """(N, N, 4) uint8 or uint16, alpha = coverage."""
    reference: np.ndarray
    """(N, N, 4) uint8 or uint16, alpha = where it is known."""


def read_edited_layers(edit_folder: Path, maps: Maps) -> dict[str, EditedLayer]:
    """The layers that have an edited atlas in `edit_folder`/atlas, in the fit's order.

    The images may have been painted over: 8 or 16 bit, grey, RGB (then opaque) or RGBA. A layer without a reference is
    compared with the fit's atlas. UserError where an image has not the size of the fit's atlas.
    """
    found = {}
    for layer in maps.layers:
        path = edit_folder / "atlas" / f"{layer}.png"
        if not path.is_file():
            continue
        reference = edit_folder / "reference" / f"{layer}.png"
        if not reference.is_file():
            reference = maps.atlas_path(layer)
        found[layer] = EditedLayer(_of_size(path, maps, layer), _of_size(reference, maps, layer))
    return found


def _of_size(path: Path, maps: Maps, layer: str) -> np.ndarray:
    image = read_image(path, mode="rgba")
    height, width = maps.atlas_size(layer)
    if image.shape[:2] != (height, width):
        raise UserError(
            f"{path} is {image.shape[1]}x{image.shape[0]}, the atlas of {layer} is {width}x{height}:"
            f" save it at that size (the original is {maps.atlas_path(layer)})"
        )
    return image


def delta_textures(
    layers: dict[str, EditedLayer], maps: Maps, transfer: Transfer = "local", device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """What delta rendering adds, for each edited layer (N, N, 6): a part to be multiplied by light, one by the frame.

    "additive": coverage * (edited - reference), and 0. "local": coverage * (edited - gain * reference), and
    coverage * (gain - 1), with the gain of `atlas.transfer`: the edit as it is plus the frame's left-over times the gain.
    """
    return {layer: texture(_delta(pair, maps.atlas(layer), transfer), device) for layer, pair in layers.items()}


def _delta(pair: EditedLayer, atlas: np.ndarray, transfer: Transfer) -> np.ndarray:
    change, reference, coverage = difference(pair, atlas)
    gain = np.ones_like(change) if transfer == "additive" else left_over_gain(reference + change, reference, coverage)
    # change + (1 - gain) * reference: written so that it is exactly 0 where nothing was changed.
    return coverage[..., None] * np.concatenate([change + (1 - gain) * reference, gain - 1], -1)


def full_textures(layers: dict[str, EditedLayer], maps: Maps, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Colours of every layer of the fit, (N, N, 3): edited where covered, the fit's atlas elsewhere."""
    textures = {}
    for layer in maps.layers:
        colours = maps.atlas(layer)[..., :3]
        if layer in layers:
            edited = to_float(layers[layer].edited)
            colours = colours + edited[..., 3:] * (edited[..., :3] - colours)
        textures[layer] = texture(colours, device)
    return textures


def difference(
    pair: EditedLayer,
    atlas: np.ndarray,  # (N, N, 4) float32, the fit's own
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # (N, N, 3), (N, N, 3), (N, N) float32
    """edited - reference, exactly 0 where both are the same; the reference; and the edit's coverage.

    A painter may have saved 16 bits as 8: then the reference is rounded alike, so that what was not painted stays 0.
    Where the reference is not known (alpha 0) a painted texel is compared with the fit's atlas.
    """
    edited, reference = pair.edited, pair.reference
    if edited.dtype == np.uint8 and reference.dtype == np.uint16:
        reference = ((reference.astype(np.uint32) + 128) // 257).astype(np.uint8)
    new, old = to_float(edited), to_float(reference)
    known, coverage = old[..., 3] > 0, new[..., 3]
    new, old = new[..., :3], old[..., :3]
    change = new - old
    painted = ~known & change.any(-1)
    old[painted] = atlas[painted, :3]
    change[painted] = new[painted] - old[painted]
    return change, old, coverage
