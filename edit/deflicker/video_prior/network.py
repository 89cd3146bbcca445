"""The U-Net of Deep Video Prior: from a frame of the source to the same frame edited, trained for each clip from nothing.

Lei, Xing, Chen, Blind Video Temporal Consistency via Deep Video Prior, NeurIPS 2020; longer in TPAMI 2023.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

LEVELS = 5
_MULTIPLE = 2 ** (LEVELS - 1)
_SLOPE = 0.2  # of the leaky ReLU


class PriorNetwork(nn.Module):
    """U-Net without normalisation: five levels of c, 2c, 4c, 8c, 16c channels, two 3x3 convolutions in each, skips between.

    The very first convolution is 1x1; down by the maximum of 2x2, up bilinearly and by a convolution to half the channels;
    leaky ReLUs of 0.2, none after that convolution nor after the last one. Weights start after Xavier.
    """

    def __init__(self, width: int, outputs: int, generator: torch.Generator) -> None:
        """width: channels c of the finest level; outputs: channels of the result, 3, or 6 for a main and a minor look."""
        super().__init__()
        channels = [width * 2**level for level in range(LEVELS)]
        first = [nn.Conv2d(3, width, 1), *(_convolution(a, b) for a, b in zip(channels, channels[1:], strict=False))]
        self.down = nn.ModuleList(first)
        self.beside = nn.ModuleList(_convolution(c, c) for c in channels)
        finer = channels[-2::-1]
        self.halve = nn.ModuleList(_convolution(2 * c, c) for c in finer)
        self.join = nn.ModuleList(_convolution(2 * c, c) for c in finer)
        self.after = nn.ModuleList(_convolution(c, c) for c in finer)
        self.last = nn.Conv2d(width, outputs, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                nn.init.xavier_uniform_(layer.weight, generator=generator)
                nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, outputs, H, W), of any size: sides are continued to multiples of 16 by repeating the border."""
        height, width = images.shape[2:]
        values = F.pad(images, (0, -width % _MULTIPLE, 0, -height % _MULTIPLE), mode="replicate")
        skips: list[Tensor] = []
        for down, beside in zip(self.down, self.beside, strict=True):
            if skips:
                values = F.max_pool2d(values, 2)
            values = _bent(beside(_bent(down(values))))
            skips.append(values)
        skips.pop()  # the coarsest
        for halve, join, after in zip(self.halve, self.join, self.after, strict=True):
            values = torch.cat([halve(doubled(values)), skips.pop()], 1)
            values = _bent(after(_bent(join(values))))
        return self.last(values)[..., :height, :width]


def doubled(images: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C, 2 H, 2 W)
    """Upsample bilinearly by two, pixel centres as in `align_corners=False`, the border repeated.

    As `interpolate` does it, whose gradient on CUDA is another one each time.
    """
    for dimension in (2, 3):
        before = torch.cat(
            [images.narrow(dimension, 0, 1), images.narrow(dimension, 0, images.shape[dimension] - 1)], dimension
        )
        after = torch.cat(
            [images.narrow(dimension, 1, images.shape[dimension] - 1), images.narrow(dimension, -1, 1)], dimension
        )
        pair = torch.stack([torch.lerp(before, images, 0.75), torch.lerp(after, images, 0.75)], dimension + 1)
        images = pair.flatten(dimension, dimension + 1)
    return images


def _bent(values: Tensor) -> Tensor:
    return F.leaky_relu(values, _SLOPE)


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)
