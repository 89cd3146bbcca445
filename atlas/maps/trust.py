"""Trust in the maps, measured on the source: how little agreement through the atlas would change of it.

What averaging along the mapping would change in the source itself is no flicker but what the maps do not know: water, legs,
reflections, other sides, wrong masks, a mapping that is off. There frames of an edit must not be averaged either. Against
comparing the source with the fit's rendering of it, what the atlas is too coarse for does not count: agreement leaves that to
each frame. On blackswan and car-shadow (12 and 16 frames of 320x180, previews, recoloured) an edit without flicker is kept at
40.4 and 41.3 dB; at 38.1 and 39.3 by such a comparison, at 36.5 and 37.2 without any trust.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from atlas.maps.consensus import DENSITY, change_of
from atlas.maps.views import ViewMaps
from atlas.maps.votes.sheet import PerFrame, Sheet
from atlas.maps.votes.votes import Votes

SIGMA = 0.05
"""Change in colour (root of the sum of squares over channels) from which on trust falls."""
_BLUR = 1.5  # pixels


@dataclass(frozen=True)
class _Source:
    """The source's frames, counted."""

    read: PerFrame
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> np.ndarray:
        return self.read(index)


def source_trust(
    maps: ViewMaps,
    source: PerFrame,
    device: torch.device | str = "cpu",
    *,
    layers: Sequence[str] | None = None,
    quiet: bool = True,
) -> PerFrame:
    """Average the source in the atlases; trust is exp(-|change|^2 / (2 sigma^2)) of what that changes of it, smoothed.

    source: the unedited frame of a number, (H, W, 3) in [0, 1] at the size of the maps, read once now and again when its
    trust is asked for. layers: those that are looked through; None: all. Returns a function from a frame's number to (H, W)
    float32 in [0, 1].
    """
    sheets = [Sheet(maps, layer, DENSITY["delta"], None, device) for layer in layers or maps.layers]
    means = [next(Votes(_Source(source, maps.frames), sheet, quiet=quiet).means(None)) for sheet in sheets]

    def trust(index: int) -> np.ndarray:
        given = source(index)
        agreed = given.copy()
        for sheet, mean in zip(sheets, means, strict=True):
            if pixels := sheet.pixels(index):
                pixels.add_to(agreed, change_of(pixels, given, mean))
        likeness = np.exp(((agreed - given) ** 2).sum(-1) * np.float32(-0.5 / SIGMA**2))
        return cv2.GaussianBlur(likeness, (0, 0), _BLUR)

    return trust
