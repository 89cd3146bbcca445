"""Layered edits of Text2LIVE and Layered Neural Atlases, of another size than the fit's atlas: placed over what they span.

These, and painters that crop, write paint on transparent:

    square                      over the whole square of the layer's atlas
    square, on the background   over the square from the least uv of what is seen of it on, as the published editors
      of a published fit        have it
    of the seen part's aspect   over the box around what is seen of the layer

What is seen: of a published fit the uv of its visible pixels, of others the texels of the atlas image that are not empty.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from atlas.clip.clip import BACKGROUND
from atlas.errors import UserError
from atlas.maps.maps import LARGEST_ATLAS, Maps
from atlas.storage.picture_files.header import Header
from atlas.storage.stamps import read_json

_ASPECT = 0.015  # relative: a crop is rounded to whole pixels

_VISIBLE = 0.2565
"""Opacity from which published editors count a pixel of the background: 1 - alpha, where alpha's tanh is 0.5."""
Box = tuple[float, float, float, float]
"""left, top, width, height in texels from the atlas's corner; it may reach beyond the atlas."""


def placed(image: np.ndarray, path: Path, maps: Maps, layer: str) -> tuple[np.ndarray, str]:
    """An RGBA layer of another size as (N, N, 4) of its type, and a line that says where it was put.

    path names the image in messages. UserError for an image without alpha, or of an aspect that spans nothing known.
    """
    height, width = image.shape[:2]
    side = maps.atlas_size(layer)[0]
    size = _sizes(path, width, height, layer, side)
    original = maps.atlas_path(layer)
    if image.shape[2] != 4:
        raise UserError(
            f"{size}: paint on a copy of {original} without scaling it, or give paint on transparent (this image has no alpha)"
        )
    published = _is_published(maps.folder)
    seen = _uv_box(maps, layer) if published else _seen_box(maps, layer)
    if width == height:
        in_part = published and layer == BACKGROUND
        box = _published_square(seen) if in_part else (0, 0, side, side)
        where = "the square around what is seen of the layer" if in_part else "the whole atlas"
    elif abs(width / height / (seen[2] / seen[3]) - 1) < _ASPECT:
        box, where = seen, "what is seen of the layer"
    else:
        raise UserError(
            f"{size} and what is seen of it {seen[2]:.0f}x{seen[3]:.0f}: give paint on a copy of {original}, or a square layer"
        )
    return _in_box(image, box, side), f"{size}: resized to {box[2]:.0f}x{box[3]:.0f} and put over {where}"


def check_placeable(header: Header, path: Path, maps: Maps, layer: str) -> None:
    """UserError, before an image is decoded, where it is far larger than what can be seen of it in the atlas."""
    side = maps.atlas_size(layer)[0]
    most = max(side, LARGEST_ATLAS)
    if max(header.size) > most:
        sizes = _sizes(path, header.width, header.height, layer, side)
        raise UserError(f"{sizes}: layers of another size are read up to {most} pixels a side, save it smaller")


def _sizes(path: Path, width: int, height: int, layer: str, side: int) -> str:
    return f"{path} is {width}x{height}, the atlas of layer {layer!r} is {side}x{side}"


def _in_box(image: np.ndarray, box: Box, side: int) -> np.ndarray:
    """The image scaled to a box of an otherwise transparent square. Colours count by alpha: none seep in from nothing."""
    left, top = box[:2]
    width, height = (max(round(extent), 1) for extent in box[2:])
    smaller = width < image.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    weighted = image.astype(np.float32)
    weighted[..., :3] *= weighted[..., 3:]
    weighted = cv2.resize(weighted, (width, height), interpolation=method)
    # What the box's corner and size have beyond whole texels; nothing changes where they have nothing.
    across, down = width / box[2], height / box[3]
    back = np.array([[across, 0, (0.5 - left) * across - 0.5], [0, down, (0.5 - top) * down - 0.5]])
    weighted = cv2.warpAffine(weighted, back, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    colour = weighted[..., :3] / np.maximum(weighted[..., 3:], 1e-6)
    return np.clip(np.concatenate([colour, weighted[..., 3:]], -1) + 0.5, 0, np.iinfo(image.dtype).max).astype(image.dtype)


def _seen_box(maps: Maps, layer: str) -> Box:
    seen = maps.atlas(layer)[..., 3] > 0
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    if not len(rows):
        return 0, 0, *maps.atlas_size(layer)
    return int(columns[0]), int(rows[0]), int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1


def _uv_box(maps: Maps, layer: str) -> Box:
    """From the least to the greatest uv of the layer's visible pixels; the whole atlas where there are none."""
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for t in range(maps.frames):
        uv = maps.uv(layer, t)[maps.opacity(layer, t) > _VISIBLE]
        if len(uv):
            low, high = np.minimum(low, uv.min(0)), np.maximum(high, uv.max(0))
    height, width = maps.atlas_size(layer)
    if not (high > low).all():
        return 0, 0, width, height
    left, top = (low + 1) / 2 * (width, height)
    across, down = (high - low) / 2 * (width, height)
    return float(left), float(top), float(across), float(down)


def _published_square(seen: Box) -> Box:
    """What an edit's 1000 x 1000 pixels span: the first lies with its centre, not its corner, at the least uv."""
    edge = max(seen[2:])
    return seen[0] - edge / 2000, seen[1] - edge / 2000, edge, edge


def _is_published(fit_folder: Path) -> bool:
    """Whether the fit is one of Layered Neural Atlases, imported or trained here."""
    try:
        config = read_json(fit_folder / "config.json")
    except UserError:
        return False
    return isinstance(config, dict) and config.get("preset") == "nla"
