"""Propagate: each keyframe from how all earlier ones look in its view (inter-frame propagation of StableVideo, ICCV 2023).

There the view of the keyframe just before it, black where that showed nothing, is noised and denoised. Here the mean of
all earlier keyframes is; where none showed anything denoising starts from pure noise, at the schedule's beginning.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from edit.diffusion.denoise import Start, draw
from edit.strategies.protocol import Propagated, Strategy, View

_KNOWN = 0.5  # share of the layer's pixels below a latent's cell that must be known


class Propagate(Strategy):
    """Starts from what all earlier keyframes show."""

    depends_on = "all"

    def start(self, view: View) -> Start:
        """What is known noised to `strength` and, where asked for, held; noise elsewhere."""
        generator = view.generator()
        if view.is_first or view.strength >= 1:
            return Start(draw(view.shape, generator), generator)
        earlier = view.propagated()
        mask = known_cells(earlier, view.shape[1:])
        known = view.encode(earlier.image, generator)
        noise = draw(view.shape, generator)
        if not mask.any():
            return Start(noise, generator)
        return Start(noise, generator, known, None if mask.all() else mask, view.strength, view.hold)


def known_cells(earlier: Propagated, size: tuple[int, int]) -> Tensor:  # (1, 1, h, w) bool
    """Cells of the latent whose pixels of the layer are known for the most part."""
    opacity, coverage = (torch.from_numpy(image)[None, None].float() for image in (earlier.opacity, earlier.coverage))
    layer = F.adaptive_avg_pool2d(opacity, size)
    known = F.adaptive_avg_pool2d(opacity * coverage, size)
    return (layer > 0) & (known >= _KNOWN * layer)
