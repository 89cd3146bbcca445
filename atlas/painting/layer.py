"""Painting on a layer's atlas: paint on transparent that lies over it, and any frame as it is going to be rendered.

The frames are those that the render stage makes of `--editor atlas --image PAINT`, kept up to date stroke by stroke: a stroke
costs its own texels and one frame. Residual transfer sees the neighbourhood of a stroke alone, where the stage sees all of the
layer: where the frame's detail takes the paint on, the two differ by a few grey levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.geometry.boxes import Box, bounding_box, box_at, box_within
from atlas.geometry.texture import Texture
from atlas.maps.compositing import DeltaTexture, LayerDelta, add_deltas
from atlas.maps.layer_view import FrameMaps
from atlas.maps.maps import Maps, open_maps
from atlas.rendering.edited import EditedLayer, delta_planes, kept, opened, own_textures, read_edited_layers
from atlas.rendering.renderers import layer_deltas, matted
from atlas.rendering.settings import RenderSettings
from atlas.storage.images import read_image, to_8_bit, write_image
from atlas.storage.pictures import WantedSize

_REACH = 40
"""Texels around a stroke in which it changes the delta: through the neighbourhoods of residual transfer, and over the rim."""


@dataclass
class PaintedLayer:
    """A layer under the brush."""

    clip: Clip
    maps: Maps
    layer: str
    paint: np.ndarray
    """(N, N, 4) uint8, not premultiplied: what `save` writes. Texels with alpha 0 stay as they are."""
    reference: np.ndarray
    """(N, N, 4) uint8 or uint16, the fit's atlas as stored."""
    keep: np.ndarray
    """(N, N) float32 in [0, 1], where paint leaves the original: the edit keeps it, or it was never seen."""
    _delta: DeltaTexture
    _others: Mapping[str, LayerDelta]
    """What the edit has made of other layers."""
    _own: dict[str, Texture]
    _sized: FrameMaps
    _frame: tuple[int, np.ndarray] = field(default=(-1, np.empty(0)))
    """The frame of the clip that was shown last."""

    @classmethod
    def open(cls, clip: Clip, fit: str, layer: str, edit: Edit | None = None) -> PaintedLayer:
        """Open a layer of a fit to be painted, over what its edit was painted before; UserError where it cannot be."""
        maps = open_maps(clip, fit, layer)
        reference = read_image(maps.atlas_path(layer), mode="rgba")
        keep = (reference[..., 3] == 0).astype(np.float32)
        if edit is not None and (mask := kept(edit, maps, layer)) is not None:
            keep = np.maximum(keep, mask)
        paint = np.zeros((*reference.shape[:2], 4), np.uint8)
        kinds, planes = delta_planes(EditedLayer(paint, reference), maps.atlas(layer))
        delta = DeltaTexture(Texture(planes), kinds)
        layers = {} if edit is None else read_edited_layers(edit, maps, without=[layer])
        own = own_textures(layers | {layer: EditedLayer(paint, reference)}, maps)
        others = layer_deltas(RenderSettings(mode="delta"), maps, layers, own, torch.device("cpu"))
        opened = cls(clip, maps, layer, paint, reference, keep, delta, others, own, matted(maps, layers, clip))
        before = None if edit is None else earlier_paint(edit, maps, layer)
        if before is not None:
            opened.put(0, 0, before)
        return opened

    def put(self, top: int, left: int, pixels: np.ndarray) -> None:  # (h, w, 4) uint8
        """Replace the paint in a rectangle of the atlas; ValueError where it does not lie in it."""
        box = box_at(top, left, pixels.shape, self.paint.shape)
        touched = bounding_box((self.paint[box] != pixels).any(-1))
        if touched is None:
            return
        self.paint[box] = pixels
        rows, columns = touched
        self._renew((slice(top + rows.start, top + rows.stop), slice(left + columns.start, left + columns.stop)))

    def _renew(self, touched: Box) -> None:
        """Compute the delta anew around texels whose paint has changed."""
        changed = _grown(touched, _REACH, self.paint.shape)
        around = _grown(changed, _REACH, self.paint.shape)
        pair = EditedLayer(opened(self.paint[around], self.keep[around]), self.reference[around])
        _, planes = delta_planes(pair, self.maps.atlas(self.layer)[around])
        self._delta.planes.put(changed, planes[box_within(changed, around)])

    def frame(self, index: int) -> np.ndarray:  # (H, W, 3) uint8
        """Render a frame with the paint as it is now."""
        if self._frame[0] != index:
            self._frame = index, self.clip.frame(index)
        return add_deltas(self._frame[1], index, self._sized, {**self._others, self.layer: self._delta}, self._own)

    def texel(self, index: int, x: int, y: int) -> tuple[float, float] | None:
        """Find the place in the atlas that pixel x, y of a frame shows: column and row in texels, whole at their corners.

        None where the layer is not seen there.
        """
        if not self.maps.opacity(self.layer, index)[y, x] > 0:
            return None
        u, v = self.maps.uv(self.layer, index)[y, x]
        height, width = self.paint.shape[:2]
        return float((u + 1) / 2 * width), float((v + 1) / 2 * height)

    def save(self, path: Path) -> None:
        """Write the paint as a PNG, to the texel."""
        write_image(path, self.paint)


def paint_path(edit: Edit, layer: str) -> Path:
    """Where the paint of a layer lies in an edit's folder."""
    return edit.folder / "painted" / f"{layer}.png"


def earlier_paint(edit: Edit, maps: Maps, layer: str) -> np.ndarray | None:  # (N, N, 4) uint8
    """Read what a layer was painted before, here or in another program; None where it was not.

    Of a painted copy of the whole atlas that is what differs from the fit's. Paint for an atlas of another size is of another
    fit: it counts as none.
    """
    size = maps.atlas_size(layer)
    if (path := paint_path(edit, layer)).is_file():
        try:
            return to_8_bit(read_image(path, mode="rgba", size=WantedSize(*size, "the atlas is", "paint it anew")))
        except UserError:
            return None
    if not edit.is_painted(layer) or not edit.atlas_path(layer).is_file() or not edit.reference_path(layer).is_file():
        return None
    edited, reference = (read_image(file, mode="rgba") for file in (edit.atlas_path(layer), edit.reference_path(layer)))
    if edited.shape[:2] != size or reference.shape[:2] != size:
        return None
    paint = to_8_bit(edited).copy()
    paint[(paint[..., :3] == to_8_bit(reference)[..., :3]).all(-1)] = 0
    return paint


def _grown(box: Box, margin: int, shape: tuple[int, ...]) -> Box:
    """A box grown by a margin, inside an image of this shape."""
    rows, columns = (
        slice(max(side.start - margin, 0), min(side.stop + margin, most)) for side, most in zip(box, shape, strict=False)
    )
    return rows, columns
