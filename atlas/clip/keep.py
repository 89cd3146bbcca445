"""Keep-masks: where a layer is to stay as it is. A grey image on its atlas, white = keep the original."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from atlas.storage.images import read_image, to_float
from atlas.storage.pictures import WantedSize


def read_keep(
    path: Path,
    atlas: Path,
    size: tuple[int, int],  # (H, W) of the atlas
) -> np.ndarray:  # (H, W) float32 in [0, 1], 1 = keep
    """Read a keep-mask as painted: grey, or the mean of its colours; what is transparent is not kept."""
    wanted = WantedSize(*size, "the atlas is", f"paint the mask at the size of {atlas}")
    image = to_float(read_image(path, mode="rgba", size=wanted))
    return image[..., :3].mean(-1) * image[..., 3]


def open_coverage(
    coverage: np.ndarray,  # (H, W) in [0, 1]
    keep: np.ndarray | None,  # (H, W) in [0, 1]
) -> np.ndarray:  # (H, W)
    """Limit coverage to where an edit may show. Doing so again changes nothing, so that every stage that reads the mask may."""
    return coverage if keep is None else np.minimum(coverage, 1 - keep)
