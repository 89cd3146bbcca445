"""Trust in the maps, measured on the source: where the fit shows what the frame shows.

Legs, reflections, other sides, wrong masks: where the fit cannot show the source, its mapping is no evidence that two pixels
are the same place, and frames must not be averaged along it.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from atlas.geometry.texture import Texture
from atlas.maps.compositing import composite_frame
from atlas.maps.views import ViewMaps
from atlas.maps.votes.sheet import PerFrame

SIGMA = 0.1
"""Distance of colours (root of the sum of squares over channels) from which on trust falls."""
_BLUR, _WINDOW = 3.0, 5  # pixels: sigma of what smooths it, and side of the square whose least counts


def source_trust(maps: ViewMaps, source: PerFrame, device: torch.device | str = "cpu") -> PerFrame:
    """Compare the fit with the source: exp(-|source - rendering|^2 / (2 sigma^2)), smoothed, the least of those round about.

    source: the unedited frame of a number, (H, W, 3) in [0, 1] at the size of the maps. Returns a function from a frame's
    number to (H, W) float32 in [0, 1].
    """
    textures = {layer: Texture(maps.atlas(layer)[..., :3], device) for layer in maps.layers}

    def trust(index: int) -> np.ndarray:
        distance = ((source(index) - composite_frame(index, maps, textures)) ** 2).sum(-1)
        likeness = np.exp(distance * np.float32(-0.5 / SIGMA**2))
        return cv2.erode(cv2.GaussianBlur(likeness, (0, 0), _BLUR), np.ones((_WINDOW, _WINDOW), np.uint8))

    return trust
