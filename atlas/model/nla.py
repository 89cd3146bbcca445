"""The networks of Layered Neural Atlases (Kasten et al., 2021), layer for layer: to be imported, and as a baseline.

Their conventions, which differ from ours, end here: coordinates are counted from the pixel's number, not its centre
(x = column / half the longer side - 1); t reaches 1 one frame after the last; both layers share one atlas network, the
foreground's own square [-1, 1]^2 being its [0, 1]^2, the background's its [-1, 0]^2.

Their edits are images of 1000 x 1000 pixels. The foreground's spans [0, 1]^2: all of our own square of that layer. The
background's spans only the smallest square box, from its least u and v, that holds the (u, v) used where the background
shows: with box (left, top, edge) in [-1, 0]^2, its pixel (i, j) lies at u, v = (left, top) + edge * (i, j) / 1000, which
is 2 * (u, v) + 1 in our own square.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from atlas.model.nla_config import NetworkShape, NlaConfig

FOREGROUND, BACKGROUND = 0, 1
PUBLISHED_NAMES = {
    "mapping1": "model_F_mapping1_state_dict",
    "mapping2": "model_F_mapping2_state_dict",
    "alpha": "model_F_alpha_state_dict",
    "atlas": "F_atlas_state_dict",
}
"""Our networks, and where a published checkpoint keeps their parameters."""
_CHUNK = 16384
"""Points evaluated at once where no gradient is taken: what a hidden layer holds stays near the processor."""


def positional_encoding(points: Tensor, octaves: int) -> Tensor:  # (N, D) -> (N, 2 * D * octaves)
    """Octave after octave: the sines of all coordinates times 2^k pi, then their cosines."""
    frequencies = 2.0 ** torch.arange(octaves, device=points.device, dtype=points.dtype) * math.pi
    phase = points[:, None, :] * frequencies[:, None]
    return torch.cat([phase.sin(), phase.cos()], -1).flatten(1)


class Network(nn.Module):
    """One network; its parameters are named as in the published checkpoints (`hidden.0.weight`)."""

    hidden: Sequence[nn.Linear]

    def __init__(self, shape: NetworkShape, generator: torch.Generator) -> None:
        super().__init__()
        self.shape = shape
        linear = nn.ModuleList(nn.Linear(a, b) for a, b in shape.sizes())
        self.hidden = cast(Sequence[nn.Linear], linear)
        with torch.no_grad():  # torch's own way to begin a linear layer, from our generator
            for layer in self.hidden:
                bound = layer.in_features**-0.5
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.uniform_(-bound, bound, generator=generator)

    def forward(self, points: Tensor) -> Tensor:  # (N, inputs) -> (N, outputs) in (-1, 1)
        values = positional_encoding(points, self.shape.octaves) if self.shape.octaves else points
        # As published: what the skips pass on is constant, so that no gradient reaches the mappings through them.
        encoded = values.detach()
        for index, layer in enumerate(self.hidden):
            if index:
                values = F.relu(values)
            if index in self.shape.skips:
                values = torch.cat([values, encoded], 1)
            values = layer(values)
        return values.tanh()


def parameter_shapes(config: NlaConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a model's parameters, known before it is built."""
    shapes: dict[str, tuple[int, ...]] = {}
    for part in PUBLISHED_NAMES:
        network: NetworkShape = getattr(config, part)
        for index, (inputs, outputs) in enumerate(network.sizes()):
            shapes |= {f"{part}.hidden.{index}.weight": (outputs, inputs), f"{part}.hidden.{index}.bias": (outputs,)}
    return shapes


class NlaModel(nn.Module):
    """Two layers, foreground and background, as four networks."""

    def __init__(self, config: NlaConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.mapping1 = Network(config.mapping1, generator)
        self.mapping2 = Network(config.mapping2, generator)
        self.alpha = Network(config.alpha, generator)
        self.atlas = Network(config.atlas, generator)

    def normalised(self, x: Tensor, y: Tensor, t: Tensor) -> Tensor:  # each (N,) -> (N, 3)
        """Columns, rows and frame numbers, fractions allowed, as the networks take them."""
        half = max(self.config.resx, self.config.resy) / 2
        return torch.stack([x / half - 1, y / half - 1, t / (self.config.maximum_number_of_frames / 2) - 1], -1)

    def mapping(self, layer: int) -> Network:
        """The mapping of a layer: (N, 3) -> (N, 2), its own square."""
        return self.mapping1 if layer == FOREGROUND else self.mapping2

    def opacity(self, xyt: Tensor) -> Tensor:  # (N, 3) -> (N,)
        """The foreground's opacity, between 0.001 and 0.991."""
        return 0.99 * (0.5 * (self.alpha(xyt)[:, 0] + 1)) + 0.001

    def colour(self, layer: int, uv: Tensor) -> Tensor:  # (N, 2) in the layer's own square -> (N, 3) in [0, 1]
        """Colours of a layer's atlas."""
        return 0.5 * (self.atlas(uv * 0.5 + (0.5 if layer == FOREGROUND else -0.5)) + 1)

    def pixels(self, index: int, height: int, width: int) -> Tensor:  # (H * W, 3)
        """The pixels of frame `index`, row by row, at any size of the frame."""
        device = self.alpha.hidden[0].weight.device
        x = (torch.arange(width, device=device) + 0.5) * (self.config.resx / width) - 0.5
        y = (torch.arange(height, device=device) + 0.5) * (self.config.resy / height) - 0.5
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        columns, rows = columns.reshape(-1), rows.reshape(-1)
        return self.normalised(columns, rows, torch.full_like(rows, float(index)))

    @torch.no_grad()
    def frame_maps(
        self,
        index: int,
        depth: Tensor,  # (objects, H, W): gives the size only, which need not be the clip's own
    ) -> tuple[Tensor, Tensor]:  # uv (2, H, W, 2), visible opacity (2, H, W)
        """Maps of one frame: each layer's uv in its own square [-1, 1]^2, and what one sees of it."""
        height, width = depth.shape[-2:]
        parts = []
        for points in self.pixels(index, height, width).split(_CHUNK):
            parts.append(torch.cat([self.mapping1(points), self.mapping2(points), self.opacity(points)[:, None]], 1))
        values = torch.cat(parts).reshape(height, width, 5)
        opacity = values[..., 4]
        return torch.stack([values[..., :2], values[..., 2:4]]), torch.stack([opacity, 1 - opacity])

    @torch.no_grad()
    def colours(self, layer: int, uv: Tensor) -> Tensor:  # (N, 2) -> (N, 3)
        """`colour` at any number of points."""
        return torch.cat([self.colour(layer, part) for part in uv.split(_CHUNK)]) if len(uv) else uv.new_zeros(0, 3)
