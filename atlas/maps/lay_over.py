"""Laying edited frames over the source: what was edited takes the source's place, and outlines keep no fringe of it.

A pixel on a layer's outline shows the layer mixed with what lies behind, and so does the edited frame there. Blending the two
by opacity counts that mixture twice, and so does taking the layer's own colour out and putting the edited pixel in. What is
needed is the layer's own colour *after* the edit. It is estimated as the edit says round about, where the layer is seen alone:
by a local regression of the change on the source's colours (as `atlas.rendering.transfer` does in the atlas), applied to the
layer's own colour in the fit. On the sample at 480x272, PSNR of the outlines against the true re-render, mean over ten filters:
28.5 dB blended, 26.4 with the edited pixel for the layer's own, 39.6 so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atlas.clip.clip import WHOLE_FRAME
from atlas.geometry.boxes import bounding_box
from atlas.geometry.filling import wide_blur
from atlas.geometry.texture import Texture
from atlas.maps.compositing import LayerDelta, add_deltas
from atlas.maps.layer_view import FrameMaps, FramePart, LayerView, Outline, colours_of, whole_share

_REACH, _WIDE = 1.5, 6.0  # pixels over which the edit is compared with the source (sigma), and where that sees too little
_SUPPORT = 0.02  # share of a neighbourhood that has to show the layer alone
_RIDGE = 1e-3  # variance of colour that is too small to tell whether the change follows the colours
_STEEPEST = (-2.5, 1.5)  # of the change over the source's colours: noise must not be amplified beyond measure


@dataclass(frozen=True)
class EditedFrame:
    """A frame that was edited, of one layer or (`all`) as a whole, at the size of the frame that it is laid over."""

    colour: np.ndarray
    """(H, W, 3) of the frame's type, not premultiplied."""
    applies: np.ndarray
    """(H, W) float32 in [0, 1]: where the edit applies; not the layer's shape."""
    own: Texture | None = None
    """Three planes: the layer's colours in the fit. None of whole frames."""
    scale: float = 1.0
    """Pixels of this frame along one of the clip's."""

    @property
    def device(self) -> torch.device:
        """Where it is laid over."""
        return self.own.device if self.own else torch.device("cpu")

    texture = None  # nothing of it lies in an atlas

    def changed(self, view: LayerView, part: FramePart) -> Tensor:
        """Find what becomes of the frame in a view of its layer: exactly the frame wherever it is as that is."""
        frame, applies = part.image, self.applies[view.box]
        change = self.colour[view.box].astype(np.float32) - frame.astype(np.float32)
        if self.own and (outline := view.outline(self.own)):
            _correct(change, frame, applies, view, outline, self.scale)
        change *= applies[..., None]
        change += frame
        return colours_of(change, view.device)


def lay_over(
    frame: np.ndarray,  # (H, W, 3) uint8 or uint16
    index: int,
    edited: Mapping[str, EditedFrame],
    maps: FrameMaps | None = None,
    deltas: Mapping[str, LayerDelta] | None = None,
    own: Mapping[str, Texture] | None = None,
) -> np.ndarray:  # (H, W, 3), of the frame's type
    """Composite edited frames over the source: frame + sum over layers of opacity * applies * change, rounded once.

    The change is edited - frame where the layer is seen alone; on its outline it is what the edit does to the layer's own
    colour. Exact to the bit: the frame where no edit applies, and where the edited frame is the frame (on an outline: as far
    around as the change is estimated from); the edited frame where opacity and `applies` are 1. edited: by layer, or one
    under `all`, which needs no maps. deltas, own: of the edit's other layers, whose atlases were edited (`add_deltas`).
    """
    if WHOLE_FRAME in edited:
        return _blended(frame, edited[WHOLE_FRAME])
    if maps is None:
        raise TypeError("layers are laid over with the maps of their fit")
    return add_deltas(frame, index, maps, {**(deltas or {}), **edited}, own)


def where_applied(
    alpha: np.ndarray,  # (H, W) of a saved keyframe, in [0, 1]
    opacity: np.ndarray,  # (H, W) of the layer
) -> np.ndarray:  # (H, W) float32
    """Divide a keyframe's alpha by the layer's opacity: where the edit applies.

    A painter may have saved the frame all opaque: more than the layer's opacity counts as that.
    """
    return np.minimum(alpha / np.maximum(opacity, np.float32(1 / 255)), 1).astype(np.float32)


def whole_on_transparent(edited: EditedFrame) -> np.ndarray:  # (H, W, 4) of its type
    """Render an edited whole frame on transparent: alpha is where the edit applies."""
    top = np.iinfo(edited.colour.dtype).max
    alpha = (edited.applies * np.float32(top) + np.float32(0.5)).astype(edited.colour.dtype)
    return np.dstack([edited.colour, alpha])


def _blended(frame: np.ndarray, edited: EditedFrame) -> np.ndarray:
    """Blend an edited whole frame in where it applies."""
    source = frame.astype(np.float32)
    mixed = source + edited.applies[..., None] * (edited.colour.astype(np.float32) - source)
    return (mixed + np.float32(0.5)).astype(frame.dtype)


def _correct(
    change: np.ndarray,  # (h, w, 3) float32 in the frame's units, corrected in place
    frame: np.ndarray,  # (h, w, 3)
    applies: np.ndarray,  # (h, w)
    view: LayerView,
    outline: Outline,
    scale: float,
) -> None:
    """Put on the outline what the edit does to the layer's own colour, as far as the frame's there is not the layer's."""
    rows, columns = np.divmod(outline.number, view.seen.shape[1])
    on_outline = np.zeros(view.seen.shape, np.uint8)
    on_outline[rows, columns] = 1
    around = bounding_box(on_outline, round(3 * scale * _WIDE))
    assert around is not None
    top = np.float32(np.iinfo(frame.dtype).max)
    here = rows - around[0].start, columns - around[1].start
    weight = applies[around] * whole_share(torch.from_numpy(view.seen[around])).numpy()
    own = outline.own[:, :3].cpu().numpy()
    colours, changes = frame[around].astype(np.float32) / top, change[around] / top
    found, trust = _estimated(colours, changes, weight, here, own, scale * _REACH)
    if trust.min() < 1:
        wide, some_trust = _estimated(colours, changes, weight, here, own, scale * _WIDE)
        wide = changes[here] + some_trust * (wide - changes[here])
        found = wide + trust * (found - wide)
    share = outline.share.cpu().numpy()
    change[rows, columns] += share * (found * top - change[rows, columns])


def _estimated(
    colours: np.ndarray,  # (h, w, 3) the source
    changes: np.ndarray,  # (h, w, 3) edited - source
    weight: np.ndarray,  # (h, w) how far a pixel shows the layer alone, edited
    place: tuple[np.ndarray, np.ndarray],
    own: np.ndarray,  # (M, 3) the layer's own colours at these places
    reach: float,
) -> tuple[np.ndarray, np.ndarray]:  # (M, 3), and how far to trust it, (M, 1)
    """Regress the change on the source's colours around each place, and apply it to the layer's own.

    Exactly 0 where nothing around changes.
    """
    weighted, moved = weight[..., None] * colours, weight[..., None] * changes
    sums = np.dstack([weight, weighted, moved, weighted * colours, weighted * changes])
    around = wide_blur(sums, reach)[place]
    support = around[:, 0]
    mean, change, square, product = np.split(around[:, 1:] / np.maximum(support, 1e-8)[:, None], 4, axis=1)
    slope = (product - mean * change) / (np.maximum(square - mean * mean, 0) + np.float32(_RIDGE))
    return np.clip(slope, *_STEEPEST) * (own - mean) + change, np.clip(support / _SUPPORT, 0, 1)[:, None]
