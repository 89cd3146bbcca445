"""Keyframe overlap: how much edited keyframes differ where two of them see the same texels of the layer's atlas.

    overlap(layer) = mean of |colour_i - colour_j| over pairs of keyframes and texels seen by both (and over R, G, B in [0, 1])

Up to five keyframes are compared pair by pair, of more only some pairs (`atlas.maps.pairs`): work grows with their number, not
its square, and no more than nine are held at a time.

Light is removed first. Beside it the same of the unedited keyframes: what mapping, light and grain alone amount to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit, read_keyframe
from atlas.maps.keyframes import keyframe_pixels
from atlas.maps.maps import Maps
from atlas.maps.pairs import compared, kept
from atlas.storage.images import to_float

_SEEN = 0.75  # share of a texel that a keyframe must have seen
_MOST_TEXELS = 512  # per side of the atlas that is compared: finer ones are mostly resampling


@dataclass
class Overlap:
    """Keyframe overlap of one layer."""

    edited: float
    """Mean absolute difference of the edited keyframes, in [0, 1]."""
    source: float
    """The same of the unedited ones."""
    texels: int
    """Texels compared, over all pairs that were."""
    strategy: str | None
    """What kept the keyframes alike, where a prompt edited them."""


def keyframe_overlap(clip: Clip, maps: Maps, edit: Edit, layer: str) -> Overlap | None:
    """Measure how much the edited keyframes of a layer differ where they overlap; None where no two see the same texels."""
    files = edit.keyframes(layer)
    if len(files) < 2:
        return None
    indices = sorted(files)
    held: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def opened(index: int) -> tuple[np.ndarray, np.ndarray]:
        if index not in held:
            held[index] = _in_atlas(clip, maps, layer, index, to_float(read_keyframe(files[index], clip, index)))
        return held[index]

    difference, texels = np.zeros(2), 0
    for place, others in enumerate(compared(len(indices))):
        seen, colours = opened(indices[place])
        for other in others:
            seen_too, colours_too = opened(indices[other])
            common = seen & seen_too
            apart = np.abs(colours[common] - colours_too[common])  # (P, 6)
            difference += apart.reshape(-1, 2, 3).mean(2).sum(0)
            texels += int(common.sum())
        for gone in held.keys() - {indices[other] for other in kept(place, len(indices))}:
            del held[gone]
    if not texels:
        return None
    edited, source = (float(value) for value in difference / texels)
    return Overlap(edited, source, texels, edit.request(layer).strategy)


def _in_atlas(
    clip: Clip, maps: Maps, layer: str, index: int, keyframe: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:  # seen (N, N) bool, edited and unedited colours (N, N, 6)
    height, width = maps.atlas_size(layer)
    scale = min(1.0, _MOST_TEXELS / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    edited, frame = torch.from_numpy(keyframe), torch.from_numpy(to_float(clip.frame(index)))
    pixels = keyframe_pixels(maps, layer, index, edited[..., 3])
    partial = pixels.in_atlas(pixels.unlit(edited[..., :3], frame), size)
    return (partial.weight > _SEEN).numpy(), partial.colour.numpy()
