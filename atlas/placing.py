"""Edit layers made at another size than a fit's atlas: paint on transparent, placed over the part of the atlas it spans.

Text2LIVE, Layered Neural Atlases and painters that crop write such images:

    square                      over the whole square of the layer's atlas
    square, on the background   over the square box around what is seen of it, as the published editors have it
      of a published fit
    of the seen part's aspect   over the box around what is seen of the layer
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from atlas.clip import BACKGROUND
from atlas.errors import UserError
from atlas.files import read_json
from atlas.maps import Maps

_ASPECT = 0.015  # relative: a crop is rounded to whole pixels

Box = tuple[int, int, int, int]
"""left, top, width, height in texels; it may reach beyond the atlas."""


def placed(image: np.ndarray, path: Path, maps: Maps, layer: str) -> tuple[np.ndarray, str]:
    """An RGBA layer of another size as (N, N, 4) of its type, and a line that says where it was put.

    path names the image in messages. UserError for an image without alpha, or of an aspect that spans nothing known.
    """
    height, width = image.shape[:2]
    side = maps.atlas_size(layer)[0]
    size = f"{path} is {width}x{height}, the atlas of layer {layer!r} is {side}x{side}"
    original = maps.atlas_path(layer)
    if image.shape[2] != 4:
        raise UserError(
            f"{size}: paint on a copy of {original} without scaling it, or give paint on transparent (this image has no alpha)"
        )
    seen = _seen_box(maps, layer)
    if width == height:
        published = layer == BACKGROUND and _is_published(maps.folder)
        box = (*seen[:2], max(seen[2:]), max(seen[2:])) if published else (0, 0, side, side)
        where = "the square around what is seen of the layer" if published else "the whole atlas"
    elif abs(width / height / (seen[2] / seen[3]) - 1) < _ASPECT:
        box, where = seen, "what is seen of the layer"
    else:
        raise UserError(
            f"{size} and what is seen of it {seen[2]}x{seen[3]}: give paint on a copy of {original}, or a square layer"
        )
    return _in_box(image, box, side), f"{size}: resized to {box[2]}x{box[3]} and put over {where}"


def _in_box(image: np.ndarray, box: Box, side: int) -> np.ndarray:
    """The image scaled to a box of an otherwise transparent square. Colours count by alpha: none seep in from nothing."""
    left, top, width, height = box
    alpha = image[..., 3:].astype(np.float32)
    smaller = width < image.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    weighted = cv2.resize(np.concatenate([image[..., :3] * alpha, alpha], -1), (width, height), interpolation=method)
    colour = weighted[..., :3] / np.maximum(weighted[..., 3:], 1e-6)
    scaled = np.clip(np.concatenate([colour, weighted[..., 3:]], -1) + 0.5, 0, np.iinfo(image.dtype).max).astype(image.dtype)
    result = np.zeros((side, side, 4), image.dtype)
    rows, columns = slice(max(top, 0), min(top + height, side)), slice(max(left, 0), min(left + width, side))
    result[rows, columns] = scaled[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return result


def _seen_box(maps: Maps, layer: str) -> Box:
    seen = maps.atlas(layer)[..., 3] > 0
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    if not len(rows):
        return 0, 0, *maps.atlas_size(layer)
    return int(columns[0]), int(rows[0]), int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1


def _is_published(fit_folder: Path) -> bool:
    """Whether the fit is one of Layered Neural Atlases, imported or trained here."""
    try:
        config = read_json(fit_folder / "config.json")
    except UserError:
        return False
    return isinstance(config, dict) and config.get("preset") == "nla"
