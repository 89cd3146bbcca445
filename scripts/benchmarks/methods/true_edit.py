"""Edits of all frames whose right answer is known: the sample's true atlases painted anew, a colour map on a real clip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from atlas.clip.clip import Clip
from atlas.geometry.texture import Texture
from atlas.maps.compositing import composite_frame
from atlas.metrics.mapping import open_truth
from atlas.storage.images import to_float
from scripts.benchmarks.edits.colour_maps import COLOUR_MAPS

_STRIPES = 16  # of each shade, across an atlas
_DARK = 0.6
_SATURATION = 2.0
_SOFT = 1.5  # texels: harder edges would flicker by themselves where frames sample them


def painted_anew(colours: np.ndarray) -> np.ndarray:  # (N, N, 3) in [0, 1] -> the same
    """Recolour an atlas (channels change places, twice as colourful) and draw slanted stripes over it, every second darker."""
    recoloured = COLOUR_MAPS["rotate"](colours)
    grey = recoloured.mean(-1, keepdims=True)
    y, x = np.mgrid[0 : len(colours), 0 : len(colours)] / len(colours)
    stripes = np.where(np.sin(2 * np.pi * _STRIPES * (x + 0.6 * y)) > 0, np.float32(1), np.float32(_DARK))
    stripes = cv2.GaussianBlur(stripes, (0, 0), _SOFT)
    return np.clip(grey + _SATURATION * (recoloured - grey), 0, 1) * stripes[..., None]


def true_edit(clip: Clip, truth: Path | None) -> Iterator[np.ndarray]:  # (H, W, 3) float32 in [0, 1] of each frame
    """Show the clip as a perfect edit would: with its true atlases painted anew, or, without a truth, by a colour map.

    The colour map is that of the oracle edit. UserError for a truth that is not the clip's.
    """
    if truth is None:
        for index in range(clip.frames):
            yield np.clip(COLOUR_MAPS["orange"](to_float(clip.frame(index))), 0, 1)
        return
    maps = open_truth(truth, clip)
    textures = {layer: Texture(painted_anew(maps.atlas(layer)[..., :3])) for layer in maps.layers}
    for index in range(clip.frames):
        yield np.clip(composite_frame(index, maps, textures), 0, 1)
