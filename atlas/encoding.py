"""Encodings of coordinates for small networks."""

from __future__ import annotations

import math

import torch
from torch import Tensor


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
