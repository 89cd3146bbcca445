"""Keyframes in the atlas: a keyframe's pixels of a layer, light removed, and the partial atlas that they make."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atlas.maps.partial import Partial, partial_atlas
from atlas.maps.views import ViewMaps

DARKEST = 0.05
"""Light below which a colour is not divided by it."""
_REFINE = 1  # rounds that sharpen what sampling would blur; a second one gains nothing that can be seen


@dataclass(frozen=True)
class KeyframePixels:
    """Where a keyframe's pixels of a layer lie in the atlas, how far they count, and the light that is on them."""

    uv: Tensor
    """(H, W, 2) in [-1, 1]."""
    opacity: Tensor
    """(H, W) of the layer in this frame."""
    applies: Tensor
    """(H, W) where the edit applies, in [0, 1]."""
    light: Tensor
    """(H, W, 3), at least `DARKEST`."""
    atlas_size: tuple[int, int]

    @property
    def weight(self) -> Tensor:
        """(H, W) opacity times where the edit applies."""
        return self.opacity * self.applies

    def unlit(
        self,
        *images: Tensor,  # each (H, W, 3)
    ) -> Tensor:  # (H, W, 3 * images)
        """Divide images of the frame by its light, and stack their channels."""
        return torch.cat([image / self.light for image in images], -1)

    def in_atlas(
        self,
        values: Tensor,  # (H, W, C), light removed
        size: tuple[int, int] | None = None,  # (H, W) of the atlas; None: as the fit has it
        *,
        sharpened: bool = True,
    ) -> Partial:
        """Make the partial atlas of `values`, which lie where the pixels do; sharpened: of what sampling would blur."""
        refine = _REFINE if sharpened else 0
        return partial_atlas(values, self.uv, self.opacity, self.applies, size or self.atlas_size, refine=refine)


def keyframe_pixels(
    maps: ViewMaps,
    layer: str,
    index: int,
    alpha: Tensor,  # (H, W) of the saved keyframe: opacity times where the edit applies
) -> KeyframePixels:
    """Look up where the pixels of keyframe `index` lie, on the device of `alpha`.

    A painter may have made the keyframe all opaque: more than the layer's opacity counts as that.
    """

    def read(image: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(image)).to(alpha.device)

    opacity = read(maps.opacity(layer, index))
    applies = (alpha / opacity.clamp(min=1 / 255)).clamp(max=1)
    light = read(maps.light(layer, index)).clamp(min=DARKEST)
    return KeyframePixels(read(maps.uv(layer, index)), opacity, applies, light, maps.atlas_size(layer))
