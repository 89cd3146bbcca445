"""A painted atlas: the user's image takes the place of the layer's atlas, no keyframes needed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from atlas.errors import UserError
from atlas.storage.images import read_image, to_16_bit, with_channels
from atlas.storage.pictures import picture_bytes, picture_header
from atlas.storage.stamps import digest
from atlas.system.terminal import say
from edit.editors.protocol import AtlasEditor, Editor, FittedLayer
from edit.request.options import LayerOptions

if TYPE_CHECKING:
    from atlas.maps.maps import Maps

_RIM = 3  # texels
_METHOD = 2  # raise it when the same image is read otherwise


@dataclass(kw_only=True)
class PaintedOptions(LayerOptions):
    """Options of --editor atlas."""

    image: Path | None = None
    """With --editor atlas: a painted copy of the layer's atlas.png, or paint on transparent that goes over it. The latter may
    be of another size: square, or cropped to what is seen of the layer."""


class PaintedEditor(Editor[PaintedOptions], AtlasEditor):
    """Takes a painted atlas for the layer's own."""

    meaning, needs, options_type = "a painted atlas", "image", PaintedOptions
    targets = ("atlas",)

    def check_early(self) -> None:
        """UserError where the image is missing or unreadable, or where keyframes are asked for."""
        if self.options.keyframes is not None:
            raise UserError("a painted atlas has no keyframes: leave --keyframes out")
        picture_bytes(self._path)  # not decoded: how large it may be depends on the layer

    def open(self, layer: FittedLayer) -> AtlasEditor:
        """Read the image; UserError where it does not fit the layer's atlas."""
        self._painted = read_painted(self._path, layer.maps, layer.name)
        return self

    def fingerprint(self) -> str:
        """Digest of the image's bytes."""
        return digest(_METHOD, self._path)

    def edit(self) -> tuple[np.ndarray, np.ndarray]:  # (N, N, 4) uint16 both
        """The painted atlas, and the fit's own."""
        return self._painted

    @property
    def _path(self) -> Path:
        assert self.options.image is not None
        return self.options.image


def read_painted(
    path: Path,
    maps: Maps,
    layer: str,
) -> tuple[np.ndarray, np.ndarray]:  # edited (N, N, 4), reference (N, N, 4), uint16
    """Edited atlas and reference from a painted atlas; UserError where it is unreadable, of a size that fits nothing, or
    transparent wherever the layer is seen.

    An unpainted texel is the same in both, bit for bit. Alpha of an RGBA image says where the paint applies: the
    whole atlas with some of it repainted (`layers/<layer>/atlas.png` of the fit), or paint alone on transparent. The
    latter may have another size (`edit.editors.placing`); a line on standard error then says where it was put.
    """
    from edit.editors.placing import check_placeable, placed  # not with the options: --help is there at once

    reference = to_16_bit(read_image(maps.atlas_path(layer), mode="rgba"))
    header = picture_header(path)
    if header.size != reference.shape[:2]:
        check_placeable(header, path, maps, layer)
    image = to_16_bit(read_image(path))
    if image.shape[:2] != reference.shape[:2]:
        image, where = placed(image, path, maps, layer)
        say(where, sys.stderr)
    edited = paired(with_channels(image, 4), reference)
    if not edited[..., 3].any():
        raise UserError(
            f"{path} is transparent wherever layer {layer!r} is seen, nothing would be edited:"
            f" paint on a copy of {maps.atlas_path(layer)}, or opaquely over it"
        )
    return edited, reference


def paired(
    painted: np.ndarray,  # (N, N, 4) uint16
    reference: np.ndarray,  # (N, N, 4) uint16
) -> np.ndarray:  # (N, N, 4) uint16
    """The painted atlas as it is stored: alpha only where the layer was ever seen, no foreign colour under transparency."""
    edited = painted.copy()
    # What a painter stores under transparent texels (often black or white) must not seep in where sampling
    # mixes neighbours: there the difference from the reference is carried on from the nearest painted texel.
    transparent = np.minimum(painted[..., 3], reference[..., 3]) == 0
    edited[transparent, :3] = _carried_on(painted, reference, transparent)[transparent]
    edited[..., 3] = np.where(reference[..., 3] > 0, painted[..., 3], 0)
    return edited


def _carried_on(painted: np.ndarray, reference: np.ndarray, transparent: np.ndarray) -> np.ndarray:
    """(N, N, 3) uint16: reference plus the difference at the nearest painted texel, where one is near."""
    from atlas.geometry.filling import nearest_seen

    if transparent.all():
        return reference[..., :3]
    distance, nearest = nearest_seen(~transparent)
    row, column = np.divmod(nearest, transparent.shape[1])
    difference = painted[row, column, :3].astype(np.int32) - reference[row, column, :3]
    difference[distance > _RIM] = 0
    return np.clip(reference[..., :3] + difference, 0, 65535).astype(np.uint16)
