"""Fixed: all keyframes from the same noise."""

from __future__ import annotations

import torch

from edit.diffusion.denoise import Start, draw
from edit.strategies.protocol import Strategy, View


class Fixed(Strategy):
    """Starts from the first keyframe's noise."""

    depends_on = "first"

    def start(self, view: View) -> Start:
        """The first keyframe's noise; a keyframe of another size takes it cut, or repeated."""
        generator = torch.Generator().manual_seed(view.seed)
        noise = draw(view.first_shape, generator)
        down, across = (-(-wanted // there) for wanted, there in zip(view.shape[1:], view.first_shape[1:], strict=True))
        noise = noise.repeat(1, 1, down, across)[..., : view.shape[1], : view.shape[2]].contiguous()
        return Start(noise, generator)
