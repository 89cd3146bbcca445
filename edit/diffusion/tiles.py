"""Large pictures: one latent, denoised by tiles that overlap and agree in every step (MultiDiffusion, ICML 2023).

Every step predicts each tile on its own and averages where they overlap, weighted towards the tiles' middles: no seams.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from edit.diffusion.model import StableDiffusion

_STRIDE = 0.75  # of a tile: at least a quarter of each is shared


class Tiled:
    """Follows `Denoiser`: a model that sees a large latent tile by tile."""

    def __init__(self, model: StableDiffusion, height: int, width: int, tile: int) -> None:
        self.model = model
        self.boxes = [(rows, columns) for rows in spread(height, tile) for columns in spread(width, tile)]

    @property
    def scheduler(self) -> Any:
        """The model's."""
        return self.model.scheduler

    @property
    def device(self) -> torch.device:
        """The model's."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """The model's."""
        return self.model.dtype

    def begin(self, first: int) -> None:
        """Pass on to the model where the loop begins."""
        self.model.begin(first)

    def predict(self, latents: Tensor, index: int) -> Tensor:
        """The guided prediction for the whole latent."""
        conditioning, factor = self.model.conditioning, self.model.factor
        assert conditioning is not None
        total, weight = torch.zeros_like(latents), latents.new_zeros(1, 1, *latents.shape[2:])
        for box in self.boxes:
            rows, columns = (slice(part.start // factor, part.stop // factor) for part in box)
            predicted = self.model.predict_with(conditioning.part(box), latents[..., rows, columns], index)
            window = _window(predicted)
            total[..., rows, columns] += predicted * window
            weight[..., rows, columns] += window
        return total / weight


def spread(length: int, tile: int) -> list[slice]:
    """Tiles of equal size over `length` pixels (both multiples of 64), the last ending where it ends; each shares at least
    a quarter with the next. They begin at multiples of 16, and of 64 where the tile's size allows it."""
    if length <= tile:
        return [slice(0, length)]
    stride = int(tile * _STRIDE)
    grid = math.gcd(stride, 64)  # rounding to what divides the stride leaves no two tiles farther apart
    count = -(-(length - tile) // stride) + 1
    starts = [round((length - tile) * i / (count - 1) / grid) * grid for i in range(count)]
    return [slice(start, start + tile) for start in starts]


def _window(latents: Tensor) -> Tensor:  # (1, 1, h, w)
    """Weights that fall off linearly from a tile's middle and are nowhere 0."""
    height, width = latents.shape[2:]
    down, across = (1 - (torch.linspace(-1, 1, n, device=latents.device).abs() * 0.9) for n in (height, width))
    return (down[:, None] * across[None])[None, None].to(latents.dtype)
