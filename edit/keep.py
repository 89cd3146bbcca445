"""Where a layer is to stay as it is: a mask on its atlas that the user paints, white = keep the original."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from atlas.clip.keep import read_keep
from atlas.maps.maps import Maps
from atlas.storage.images import to_uint8


def keep_mask(
    path: Path | None,
    maps: Maps,
    layer: str,
) -> np.ndarray | None:  # (N, N) uint8
    """The mask that was given, checked; UserError where it is no image or not of the atlas's size."""
    return None if path is None else to_uint8(read_keep(path, maps.atlas_path(layer), maps.atlas_size(layer)))
