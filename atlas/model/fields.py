"""Neural fields: the parts of a layer (mapping, opacity, light) that are functions of position and time.

Coordinates are normalised as everywhere: x, y by half the longer side and centred, t in [-1, 1].
Each field starts from what registration and the masks say and learns a correction to it, zero at first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, cast, get_args

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from atlas.geometry.warp import frame_time, pixel_grid
from atlas.masks.depth import EDGE
from atlas.model.hash_grid import HashGrid, HashGridConfig
from atlas.model.parsing import from_plain

Encoding = Literal["frequency", "hash", "none"]


@dataclass(frozen=True)
class NetworkConfig:
    """A small network on encoded (x, y, t), or none."""

    encoding: Encoding = "frequency"
    """What the network sees beside (x, y, t): waves, or features of a hash grid. "none": there is no network; a mapping
    then consists of its control grids alone."""
    width: int = 64
    """Units in each hidden layer."""
    depth: int = 2
    """Hidden layers."""
    octaves: int = 4
    """Octaves of the frequency encoding: how fine a correction it can make."""
    hash: HashGridConfig = field(default_factory=HashGridConfig)
    """Sizes of the hash grid, where that is the encoding."""
    bf16: bool = False
    """Multiply in bfloat16 on CPUs that have the units for it (AVX-512 BF16); elsewhere it changes nothing."""
    reach: float = 0.02
    """Size of the output where the network's own is 1, in the output's units."""

    @classmethod
    def from_dict(cls, data: Any) -> NetworkConfig:
        """Parse what `dataclasses.asdict` made of a config and JSON kept; ValueError where anything in it is wrong."""
        return from_plain(cls, data)

    def __post_init__(self) -> None:
        if self.encoding not in get_args(Encoding):
            raise ValueError(f"there is no encoding {self.encoding!r}")
        sizes = {"width": (self.width, 1, 1024), "depth": (self.depth, 0, 16), "octaves": (self.octaves, 0, 32)}
        for name, (value, low, high) in sizes.items():
            if type(value) is not int or not low <= value <= high:
                raise ValueError(f"a network's {name} is a whole number from {low} to {high}")
        if not isinstance(self.hash, HashGridConfig) or type(self.reach) not in (int, float) or not 0 <= self.reach <= 1e6:
            raise ValueError("a network's hash grid or reach is none")


class Correction(nn.Module):
    """A network (N, 3) -> (N, outputs) that is exactly zero before training, and always where its encoding is "none"."""

    layers: Sequence[nn.Linear]

    def __init__(self, config: NetworkConfig, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.outputs = config, outputs
        self.grid = HashGrid(config.hash, 3, generator) if config.encoding == "hash" else None
        features = 2 * 3 * config.octaves if self.grid is None else self.grid.outputs
        sizes = [3 + features] + [config.width] * config.depth + [outputs] if config.encoding != "none" else []
        linear = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False))
        self.layers = cast(Sequence[nn.Linear], linear)
        with torch.no_grad():
            for layer in self.layers:
                layer.weight.normal_(0, (2 / layer.in_features) ** 0.5, generator=generator)
                layer.bias.zero_()
            if len(self.layers):
                self.layers[-1].weight.zero_()

    def forward(self, xyt: Tensor) -> Tensor:
        if not len(self.layers) or (not torch.is_grad_enabled() and self._is_zero()):
            return xyt.new_zeros(len(xyt), self.outputs)
        hidden = self._encoded(xyt)
        fast = self.config.bf16 and xyt.dtype == torch.float32 and xyt.device.type == "cpu" and has_bf16()
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            for layer in self.layers[:-1]:
                hidden = F.relu(layer(hidden))
            return self.layers[-1](hidden).to(xyt.dtype) * self.config.reach

    def _is_zero(self) -> bool:
        """Whether it has not been trained: there is nothing to compute then, only something to learn."""
        return not (self.layers[-1].weight.any() or self.layers[-1].bias.any())

    def _encoded(self, xyt: Tensor) -> Tensor:
        if self.grid is None:
            return frequency_encoding(xyt, self.config.octaves)
        return torch.cat([xyt, self.grid((xyt + 1) / 2)], 1)


@cache
def has_bf16() -> bool:
    """Whether this CPU multiplies in bfloat16. torch can elsewhere too, but slower than in float32."""
    asked = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # not in every version of torch
    return bool(asked and asked())


def sample_grid(
    grid: Tensor,  # (C, T, h, w): one grid over the frame for each frame
    xyt: Tensor,  # (N, 3)
    half: tuple[float, float],  # (half width, half height) of the frame in normalised units
) -> Tensor:  # (N, C)
    """A field stored as a grid per frame, linear in space and time; constant beyond the outermost nodes."""
    frames = grid.shape[1]
    scale = xyt.new_tensor([1 / half[0], 1 / half[1], (frames - 1) / frames])
    where = (xyt * scale).reshape(1, 1, 1, -1, 3)
    return F.grid_sample(grid[None], where, padding_mode="border", align_corners=False).reshape(grid.shape[0], -1).T


class Mapping(nn.Module):
    """(x, y, t) -> (u, v) of one layer: a homography per frame, an offset grid, and a network's correction."""

    base: Tensor
    offset: Tensor

    def __init__(
        self,
        base: Tensor,  # (T, 3, 3): normalised x, y, 1 -> u, v, w
        offset: Tensor,  # (2, T, h, w), in uv
        half: tuple[float, float],
        config: NetworkConfig,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.register_buffer("base", base)
        self.offset = nn.Parameter(offset)
        self.correction = Correction(config, 2, generator)
        self.extent = half

    def forward(self, xyt: Tensor) -> Tensor:  # (N, 3) -> (N, 2)
        return self.start(xyt) + self.correction(xyt)

    def start(self, xyt: Tensor) -> Tensor:
        """The registered mapping, without the correction. t is taken between whole frames linearly."""
        frames = self.base.shape[0]
        position = ((xyt[:, 2] + 1) / 2 * (frames - 1)).clamp(0, frames - 1)
        earlier = position.round().long()
        share = position - earlier  # of the next frame, or of the previous one where negative
        moved = project(self.base[earlier], xyt[:, :2])
        if bool((share.abs() > 1e-3).any()):
            other = (earlier + share.sign().long()).clamp(0, frames - 1)
            moved = torch.lerp(moved, project(self.base[other], xyt[:, :2]), share.abs()[:, None])
        return moved + sample_grid(self.offset, xyt, self.extent)

    def at_frame(self, index: int, height: int, width: int) -> Tensor:  # (H, W, 2)
        """The mapping at every pixel of frame `index`, at any size of the frame.

        The correction is small and its waves are long against the offsets' nodes, so in large frames it is evaluated
        there and interpolated: at 768x432 within 1 % of its own size of `forward`, at a sixteenth of the cost.
        """
        rows, columns = self.offset.shape[2:] if height * width > SMALL else (height, width)
        x = ((torch.arange(columns, device=self.base.device) + 0.5) / columns * 2 - 1) * self.extent[0]
        y = ((torch.arange(rows, device=self.base.device) + 0.5) / rows * 2 - 1) * self.extent[1]
        nodes = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(-1, 2)
        t = torch.full_like(nodes[:, :1], float(frame_time(index, self.base.shape[0])))
        correction = self.correction(torch.cat([nodes, t], 1)).T.reshape(2, rows, columns)
        # At another size the sides may be rounded to another aspect: the frame's edges stay where they are.
        grid, longer = pixel_grid(height, width, self.base.device), max(height, width)
        pixel_x = grid[:1, :, 0] * (self.extent[0] * longer / width)  # (1, W) and (H, 1): a row and a column stand for all
        pixel_y = grid[:, :1, 1] * (self.extent[1] * longer / height)
        result = _projected(self.base[index], pixel_x, pixel_y)
        offset = self.offset[:, index]
        for grid in [offset + correction] if offset.shape == correction.shape else [offset, correction]:
            result = result + F.interpolate(grid[None], (height, width), mode="bilinear", align_corners=False)[0]
        return result.permute(1, 2, 0)


def project(
    matrix: Tensor,  # (3, 3) or (N, 3, 3)
    xy: Tensor,  # (N, 2)
) -> Tensor:  # (N, 2)
    """Points moved by homographies."""
    return _projected(matrix, *xy.unbind(-1)).movedim(0, -1)


def _projected(matrix: Tensor, x: Tensor, y: Tensor) -> Tensor:  # (2, ...)
    u, v, w = (matrix[..., i, 0] * x + matrix[..., i, 1] * y + matrix[..., i, 2] for i in range(3))
    return torch.stack([u / w, v / w])


class Opacity(nn.Module):
    """(x, y, t) -> opacity of one object: how deep inside its mask a point lies, and a network's correction."""

    def __init__(self, config: NetworkConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.correction = Correction(config, 1, generator)

    def forward(
        self,
        xyt: Tensor,  # (N, 3)
        depth: Tensor,  # (N,) signed distance to the mask's outline in pixels, positive inside
    ) -> Tensor:  # (N,)
        return torch.sigmoid((depth + self.correction(xyt)[:, 0]) * EDGE)

    def at_frame(self, index: int, frames: int, depth: Tensor) -> Tensor:  # (H, W) -> (H, W)
        """The opacity at every pixel of a frame; as `forward`, but the network is asked near the outline only."""
        result = (depth > 0).float()
        near = torch.nonzero(depth.abs() < BAND, as_tuple=True)  # once: for a mask it is done at each use
        height, width = depth.shape
        xy = pixel_grid(height, width, depth.device)[near]
        xyt = torch.cat([xy, torch.full_like(xy[:, :1], float(frame_time(index, frames)))], 1)
        result[near] = self(xyt, depth[near])
        return result


SMALL = 150_000
"""Pixels up to which a frame's mapping is evaluated at every one."""
BAND = 10.0
"""Pixels from the outline beyond which opacity is exactly 0 or 1."""


class Light(nn.Module):
    """(x, y, t) -> gain (3,) of one layer: what multiplies its atlas, smooth over space and time."""

    log_gain: Tensor

    def __init__(self, log_gain: Tensor, half: tuple[float, float]) -> None:  # (3, T, h, w)
        super().__init__()
        self.register_buffer("log_gain", log_gain)
        self.extent = half

    def forward(self, xyt: Tensor) -> Tensor:  # (N, 3) -> (N, 3)
        return sample_grid(self.log_gain, xyt, self.extent).exp()


def frequency_encoding(
    coordinates: Tensor,  # (N, D) in [-1, 1]
    octaves: int,
) -> Tensor:  # (N, D + 2 * D * octaves)
    """The coordinates themselves, then sin and cos of each at frequencies pi * 2^k, k = 0 .. octaves - 1."""
    if octaves == 0:
        return coordinates
    frequencies = math.pi * 2.0 ** torch.arange(octaves, device=coordinates.device, dtype=coordinates.dtype)
    angles = (coordinates[:, :, None] * frequencies).flatten(1)
    return torch.cat([coordinates, angles.sin(), angles.cos()], 1)
