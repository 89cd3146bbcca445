"""Soft edges: outlines that are the brighter the plainer they are, by the network that ControlNet takes them from.

Xie and Tu, Holistically-Nested Edge Detection, ICCV 2015, in the form that ControlNet's author trained anew (annotator "HED",
Apache-2.0): five blocks of convolutions, each at half the size of the one before and with an outline of its own.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors import safe_open
from torch import Tensor

from atlas.errors import UserError, one_line
from atlas.storage.images import to_uint8
from atlas.storage.tensor_file import Described, tensor_header

_CONVOLUTIONS = (2, 2, 3, 3, 3)  # of each block
_MOST_CHANNELS = 1024  # of a block: the published network has 64, 128, 256, 512 and 512


class SoftEdges:
    """Finds soft edges with the network in a .safetensors file; UserError, in one line, where that holds something else."""

    def __init__(self, file: Path, device: torch.device) -> None:
        self.device = device
        self._weights = {name: value.to(device) for name, value in _read(file).items()}

    @torch.no_grad()
    def __call__(
        self,
        image: np.ndarray,  # (H, W, 3) uint8 RGB, each side 16 at least
    ) -> np.ndarray:  # (H, W, 3) uint8
        """Detect edges: the mean of the five outlines at the picture's size, through a sigmoid; white where they are sure."""
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self.device).permute(2, 0, 1)[None].float()
        outlines = [
            F.interpolate(outline, image.shape[:2], mode="bilinear", align_corners=False)
            for outline in self._outlines(pixels - self._weights["norm"])
        ]
        edges = torch.stack(outlines).mean(0).sigmoid()[0, 0].cpu().numpy()
        return np.repeat(to_uint8(edges)[..., None], 3, axis=2)

    def _outlines(self, features: Tensor) -> list[Tensor]:
        outlines = []
        for block, convolutions in enumerate(_CONVOLUTIONS, 1):
            if block > 1:
                features = F.max_pool2d(features, 2)
            for number in range(convolutions):
                features = F.relu(F.conv2d(features, *self._layer(f"block{block}.convs.{number}"), padding=1))
            outlines.append(F.conv2d(features, *self._layer(f"block{block}.projection")))
        return outlines

    def _layer(self, name: str) -> tuple[Tensor, Tensor]:
        return self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]


def shapes(channels: tuple[int, ...] = (64, 128, 256, 512, 512)) -> dict[str, tuple[int, ...]]:
    """List the network's tensors by name with their shapes, for the given channels of its blocks."""
    shape_of: dict[str, tuple[int, ...]] = {"norm": (1, 3, 1, 1)}
    for block, (before, after) in enumerate(pairwise((3, *channels)), 1):
        layers = {f"block{block}.convs.{number}": (after, after, 3, 3) for number in range(_CONVOLUTIONS[block - 1])}
        layers |= {f"block{block}.convs.0": (after, before, 3, 3), f"block{block}.projection": (1, after, 1, 1)}
        for name, shape in layers.items():
            shape_of |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shape_of


def check_soft_edges(file: Path) -> None:
    """UserError where a file is not the network for soft edges, by its header; the rest of it is not read."""
    try:
        described, _ = tensor_header(file)
    except (OSError, ValueError) as problem:
        raise UserError(
            f"--softedge {file} is no .safetensors file ({one_line(problem)}): other formats can hold programs and are not read"
        ) from None
    wanted = shapes(_channels(described))
    strange = [
        name for name in sorted(wanted.keys() | described.keys()) if described.get(name, ("", ()))[1] != wanted.get(name)
    ]
    if strange:
        raise UserError(f"--softedge {file} is not ControlNet's HED network ({strange[0]}): docs/prompts.md says which file is")


def _channels(described: Described) -> tuple[int, ...]:
    """Channels of the blocks, as far as the file has them and they are not too many; 1 elsewhere."""
    firsts = [described.get(f"block{block}.convs.0.bias", ("", ()))[1] for block in range(1, len(_CONVOLUTIONS) + 1)]
    return tuple(shape[0] if len(shape) == 1 and 1 <= shape[0] <= _MOST_CHANNELS else 1 for shape in firsts)


def _read(file: Path) -> dict[str, Tensor]:
    check_soft_edges(file)
    try:
        with safe_open(str(file), framework="pt") as opened:
            weights = {name: opened.get_tensor(name).float() for name in shapes()}
    except Exception as problem:  # safetensors has errors of its own
        raise UserError(f"--softedge {file} cannot be read ({one_line(problem)}): download it again") from None
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise UserError(f"--softedge {file} holds weights that are no numbers: download it again")
    return weights
