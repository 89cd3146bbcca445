"""Textures looked up plane by plane, as the pixels of a whole picture see them."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from atlas.geometry.texture import Texture, level_of_detail


def planes_at(
    texture: Texture,
    uv: np.ndarray,  # (h, w, 2) of neighbouring pixels
    wanted: np.ndarray | None = None,  # (h, w): the result matters where this is above 0
    *,
    smooth: bool = True,
) -> list[Tensor]:  # a plane (h, w) for each channel
    """Look a texture up at the levels of detail that it chooses; smooth=False: at full size alone."""
    level = level_of_detail(uv, texture.size) if smooth else None
    parts = texture.at_level(uv, level if level is None or wanted is None else level * (wanted > 0))
    planes = [plane for part in parts for plane in (part.unbind(-1)[:3] if part.ndim == 3 else [part])]
    return planes[: texture.channels]
