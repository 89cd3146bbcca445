"""Pictures of a fit: preview.mp4 and sheet.png."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from atlas.clip.clip import BACKGROUND, Clip
from atlas.geometry.boxes import bounding_box
from atlas.maps.maps import Maps
from atlas.quality.series import MeasuredFrame
from atlas.storage.images import to_uint8, write_image
from atlas.system.decoration import decoration
from atlas.video.sheet import contact_sheet, even, spread, thumbnail
from atlas.video.writing import write_video

PREVIEW_SIDE = 480
"""Longer side of each picture in the preview: full size would take a third of a quick fit to encode."""

_CRF = 14  # quickly encoded as good as at 16 (40.1 dB of `blackswan`), in 0.4 of the time, and a quarter larger
_NARROWEST = 24
"""Pixels that a layer's atlas has in the sheet; what goes beyond the sheet's width is cut off."""


def write_pictures(clip: Clip, frames: Iterator[MeasuredFrame], maps: Maps, folder: Path) -> None:
    """preview.mp4 (source, reconstruction, opacity side by side) and sheet.png (the same, and the atlases) in `folder`.

    frames: all of the clip's. Where the pictures cannot be made a line says so.
    """
    with decoration(str(folder / "preview.mp4")):
        columns = _write_preview(clip, frames, folder)
        with decoration(str(folder / "sheet.png")):
            sheet = contact_sheet(columns)
            write_image(folder / "sheet.png", np.concatenate([sheet, _atlas_row(maps, sheet.shape[1])]))


def _write_preview(clip: Clip, frames: Iterator[MeasuredFrame], folder: Path) -> list[tuple[str, list[np.ndarray]]]:
    """Write preview.mp4; returns some of its frames, small, in columns."""
    chosen = spread(clip.frames, 6)
    columns: list[tuple[str, list[np.ndarray]]] = []

    def pictured() -> Iterator[np.ndarray]:
        for t, one in enumerate(frames):
            triple = one.frame, to_uint8(one.result), _opacity_picture(one.opacities)
            if t in chosen:
                columns.append((f"frame {t}", [thumbnail(image) for image in triple]))
            yield even(np.concatenate([thumbnail(image, PREVIEW_SIDE) for image in triple], 1))

    write_video(folder / "preview.mp4", pictured(), clip.fps, colour=clip.source.colour, crf=_CRF, quick=True)
    return columns


def _opacity_picture(opacities: Mapping[str, np.ndarray]) -> np.ndarray:
    """Each object's opacity in a grey of its own, (H, W, 3) uint8."""
    objects = [layer for layer in opacities if layer != BACKGROUND]
    total = np.zeros(next(iter(opacities.values())).shape, np.float32)
    for i, layer in enumerate(objects):
        total += opacities[layer] * (1 - 0.5 * i / max(len(objects), 1))
    return np.repeat(to_uint8(total)[..., None], 3, 2)


def _atlas_row(maps: Maps, width: int) -> np.ndarray:
    """The seen part of every layer's atlas on a checkerboard, in a row `width` pixels wide."""
    share = max(width // len(maps.layers), _NARROWEST)
    pictures = []
    for layer in maps.layers:
        atlas = maps.atlas(layer)
        cut = atlas[bounding_box(atlas[..., 3] > 0.5) or (slice(0, 1), slice(0, 1))]
        y, x = np.indices(cut.shape[:2]) // 8
        board = 0.25 + 0.1 * ((x + y) % 2)[..., None]
        pictures.append((layer, thumbnail(to_uint8(cut[..., :3] * cut[..., 3:] + board * (1 - cut[..., 3:])), share - 8)))
    height = max(picture.shape[0] for _, picture in pictures)
    padded = [
        (f"{layer} atlas", [np.pad(p, ((0, height - p.shape[0]), (0, share - 8 - p.shape[1]), (0, 0)), constant_values=24)])
        for layer, p in pictures
    ]
    row = contact_sheet(padded)[:, :width]
    return np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=24)
