"""Multiresolution hash grid: features of a point, interpolated from grids of growing resolution.

The parameters are one flat fp32 vector in tiny-cuda-nn's layout, whether torch or tiny-cuda-nn evaluates them: what is
fitted on a GPU is rendered on a laptop. Source of the method: Instant Neural Graphics Primitives (2022). Layout and indexing
follow tiny-cuda-nn's `grid.h` and `common_device.h`:

- level l has scale = 2^(l log2 growth) * base - 1 in float32 and ceil(scale) + 1 vertices along each axis;
- it holds min(vertices^D rounded up to a multiple of 8, 2^log2_entries) entries of `features` numbers; the levels follow
  one another, and within an entry its features;
- a point lies at x * scale + 1/2 (one fused rounding); its cell's corners are mixed (bi-/tri-)linearly;
- a level with room for all its vertices is indexed x + y * vertices + z * vertices^2, modulo its entries (the last corner
  may wrap around); any other by (x * 1) ^ (y * 2654435761) ^ (z * 805459861) in uint32, modulo its entries. Whether there is
  room is decided without overflow, as tiny-cuda-nn has done since 2023 (before, uint32 products of very fine levels could
  overflow and be taken for small).

Points outside [0, 1] are moved to the border before either implementation sees them.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from atlas.errors import UserError, one_line

Implementation = Literal["torch", "tcnn", "auto"]

PRIMES = (1, 2654435761, 805459861)
"""What coordinates are multiplied by in hashed levels."""


@dataclass(frozen=True)
class HashGridConfig:
    """Sizes of a hash grid. ValueError where tiny-cuda-nn or memory would refuse them."""

    levels: int = 8
    """Grids, from coarse to fine."""
    features: int = 2
    """Numbers at each vertex of each grid: 1, 2, 4 or 8."""
    log2_entries: int = 15
    """Vertices that a level stores at most, as a power of two; finer levels share them by hashing."""
    base: int = 8
    """Vertices along each axis of the coarsest level."""
    growth: float = 1.5
    """Ratio of the resolutions of neighbouring levels."""

    def __post_init__(self) -> None:
        if not all(type(count) is int for count in (self.levels, self.features, self.log2_entries, self.base)):
            raise ValueError("a hash grid's sizes are whole numbers")
        if self.features not in (1, 2, 4, 8):
            raise ValueError(f"a hash grid has 1, 2, 4 or 8 features in each level, not {self.features}")
        if not (1 <= self.levels <= 32 and 0 <= self.log2_entries <= 24 and 1 <= self.base <= 4096):
            raise ValueError("a hash grid has 1 to 32 levels, up to 2^24 entries in each, and a base of 1 to 4096")
        if not (1 <= self.growth <= 4 and self.base * self.growth ** (self.levels - 1) <= 2**20):
            raise ValueError("a hash grid grows by 1 to 4 from level to level, to 2^20 vertices along an axis at most")


@dataclass(frozen=True)
class Level:
    """One grid of a hash grid."""

    scale: float
    """Cells per unit; a float32 number."""
    vertices: int
    """Along each axis."""
    offset: int
    """First entry, counted over all levels."""
    entries: int
    hashed: bool
    """Its vertices share entries."""


def levels_of(config: HashGridConfig, dimensions: int) -> list[Level]:
    """Every level's size and place in the parameters."""
    result, offset = [], 0
    log2_growth = np.float32(math.log2(np.float32(config.growth)))
    for index in range(config.levels):
        power = np.float32(2.0 ** float(np.float32(index) * log2_growth))
        scale = power * np.float32(config.base) - np.float32(1)
        vertices = math.ceil(scale) + 1
        room = vertices**dimensions
        entries = min(-(-room // 8) * 8, 1 << config.log2_entries)
        result.append(Level(float(scale), vertices, offset, entries, entries < room))
        offset += entries
    return result


class HashGrid(nn.Module):
    """Points (N, D) in [0, 1] -> features (N, levels * features), coarse levels first.

    implementation: "tcnn" is tiny-cuda-nn and a UserError where it cannot be used; "torch" is plain torch; "auto" takes
    tiny-cuda-nn for parameters on a CUDA device where it imports. `params`, and so a checkpoint, is the same in all cases.
    In torch on one CPU core, 18 000 points in 3D on 8 levels of 2 features take 15 ms forward and 8 ms back.
    """

    params: nn.Parameter
    _scale: Tensor
    _factor: Tensor
    _entries: Tensor
    _offset: Tensor

    def __init__(
        self,
        config: HashGridConfig,
        dimensions: int,
        generator: torch.Generator,
        implementation: Implementation = "auto",
    ) -> None:
        super().__init__()
        if dimensions not in (2, 3):
            raise ValueError(f"hash grids are made for 2 or 3 dimensions, not {dimensions}")
        if implementation == "tcnn":
            _tiny_cuda_nn()
        self.config, self.dimensions, self.implementation = config, dimensions, implementation
        self.levels = levels_of(config, dimensions)
        self.outputs = config.levels * config.features
        count = (self.levels[-1].offset + self.levels[-1].entries) * config.features
        self.params = nn.Parameter((torch.rand(count, generator=generator) * 2 - 1) * 1e-4)
        self._native: list[Any] = []  # a list, so that tiny-cuda-nn's module and its parameters are not registered twice
        # Constants of the levels, one row each. Grids only get finer: the hashed levels are the last.
        self.dense = sum(not level.hashed for level in self.levels)
        factors = [
            [(p if level.hashed else level.vertices**axis) for axis, p in enumerate(PRIMES[:dimensions])]
            for level in self.levels
        ]
        wrapped = np.array(factors, np.uint64).astype(np.uint32).view(np.int32)  # int32 products wrap as uint32 ones do
        constants = {
            "_scale": torch.tensor([level.scale for level in self.levels]),
            "_factor": torch.from_numpy(wrapped).T.contiguous(),  # (D, levels)
            "_entries": torch.tensor([level.entries for level in self.levels], dtype=torch.int32),
            "_offset": torch.tensor([level.offset for level in self.levels], dtype=torch.int32),
        }
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, points: Tensor) -> Tensor:
        points = points.clamp(0, 1)
        native = self._tcnn()
        if native is not None and len(points):
            native.params = self.params  # the same tensor, wherever `to` or `load_state_dict` has put it
            return native(points).to(self.params.dtype)
        indices, weights = self._corners(points)
        table = self.params.view(-1, self.config.features)
        return _Mix.apply(table, indices, weights).permute(1, 0, 2).flatten(1)

    def _corners(self, points: Tensor) -> tuple[Tensor, Tensor]:  # (levels, N, 2^D) each: entries, and their shares
        # In float64 and then rounded: what a fused multiply-add in float32 gives, as on the GPU. Whole (levels, N) planes,
        # one for each axis and corner: short inner dimensions would cost twice the time.
        wide = torch.float32 if points.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        planes = points.T.to(wide)[:, None] * self._scale.to(wide)[:, None] + 0.5
        position = planes.to(points.dtype)  # (D, levels, N)
        corner = position.detach().floor()
        share = position - corner
        near = corner.int() * self._factor[..., None]
        sides, shares = (near, near + self._factor[..., None]), (1 - share, share)
        entries = self._entries[:, None]
        indices, weights = [], []
        for number in range(2**self.dimensions):
            index, weight = sides[number & 1][0], shares[number & 1][0]
            dense, hashed = index[: self.dense], index[self.dense :]
            for axis in range(1, self.dimensions):
                side = number >> axis & 1
                dense, hashed = dense + sides[side][axis, : self.dense], hashed ^ sides[side][axis, self.dense :]
                weight = weight * shares[side][axis]
            # Corners of dense levels lie less than one round beyond the last entry. Hashed ones hold 2^n entries.
            dense = torch.where(dense < entries[: self.dense], dense, dense - entries[: self.dense])
            indices.append(torch.cat([dense, hashed & (entries[self.dense :] - 1)]) + self._offset[:, None])
            weights.append(weight)
        return torch.stack(indices, -1), torch.stack(weights, -1)

    def _tcnn(self) -> Any:
        """tiny-cuda-nn's module, or None where torch is to do the work."""
        if self.implementation == "torch" or (self.implementation == "auto" and not self.params.is_cuda):
            return None
        if not self._native:
            try:
                self._native.append(self._build_native())
            except UserError:
                if self.implementation == "tcnn":
                    raise
                self._native.append(None)
        return self._native[0]

    def _build_native(self) -> Any:
        config = self.config
        settings = {
            "otype": "HashGrid",
            "n_levels": config.levels,
            "n_features_per_level": config.features,
            "log2_hashmap_size": config.log2_entries,
            "base_resolution": config.base,
            "per_level_scale": config.growth,
            "interpolation": "Linear",
        }
        # In fp32: half features would round positions in the atlas to a tenth of a pixel and more.
        native = _tiny_cuda_nn().Encoding(self.dimensions, settings, dtype=torch.float32)
        if native.params.numel() != self.params.numel():
            raise UserError(
                f"this tiny-cuda-nn lays a hash grid out in {native.params.numel()} parameters, not {self.params.numel()}: "
                "install a release of 2023 or later, or take it out to let torch do the work"
            )
        return native


def _tiny_cuda_nn() -> Any:
    """The module tinycudann; UserError where it cannot be used. Without a GPU it raises more than ImportError."""
    try:
        return importlib.import_module("tinycudann")
    except (ImportError, OSError, NameError) as problem:
        raise UserError(
            f"tiny-cuda-nn cannot be used here ({one_line(problem)}): install it on a machine with CUDA, or use torch"
        ) from None


class _Mix(torch.autograd.Function):
    """Weighted sums of table rows. torch's own backward of `embedding_bag` sorts the indices: ten times the time of this."""

    @staticmethod
    def forward(
        ctx: Any,
        table: Tensor,  # (entries, features)
        indices: Tensor,  # (levels, N, corners)
        weights: Tensor,  # (levels, N, corners)
    ) -> Tensor:  # (levels, N, features)
        ctx.save_for_backward(table, indices, weights)
        corners = indices.shape[-1]
        mixed = F.embedding_bag(
            indices.reshape(-1, corners), table, per_sample_weights=weights.reshape(-1, corners).to(table.dtype), mode="sum"
        )
        return mixed.reshape(*indices.shape[:2], table.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        table, indices, weights = ctx.saved_tensors
        flat = indices.flatten().long()
        of_table = of_weights = None
        if ctx.needs_input_grad[0]:
            columns = torch.zeros(table.shape[1], table.shape[0], dtype=table.dtype, device=table.device)
            for column, part in zip(columns, gradient.unbind(-1), strict=True):
                column.scatter_add_(0, flat, (part[..., None] * weights).flatten().to(table.dtype))
            of_table = columns.T
        if ctx.needs_input_grad[2]:
            of_weights = torch.zeros_like(weights)
            for column, part in zip(table.T.contiguous(), gradient.unbind(-1), strict=True):
                of_weights.addcmul_(column[flat].view_as(weights), part[..., None])
        return of_table, None, of_weights
