"""Repainting a keyframe of an edit: paint on transparent over it, laid down into the keyframe's own file when it is saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit, read_keyframe
from atlas.errors import UserError
from atlas.geometry.boxes import box_at
from atlas.storage.images import to_8_bit, to_float, write_image


@dataclass
class PaintedKeyframe:
    """A keyframe under the brush; the same to its user as a `PaintedLayer`."""

    clip: Clip
    layer: str
    index: int
    path: Path
    paint: np.ndarray
    """(H, W, 4) uint8, not premultiplied."""
    reference: np.ndarray
    """(H, W, 4) uint8 or uint16, the keyframe as stored."""

    @classmethod
    def open(cls, clip: Clip, edit: Edit, layer: str, index: int) -> PaintedKeyframe:
        """Open a keyframe of an edit to be repainted; UserError where there is none."""
        path = edit.keyframes(layer).get(index)
        if path is None:
            known = ", ".join(map(str, edit.keyframes(layer))) or "none"
            raise UserError(f"edit {edit.name!r} has no keyframe {index} of {layer}: its keyframes are {known}")
        reference = read_keyframe(path, clip, index)
        return cls(clip, layer, index, path, np.zeros((*reference.shape[:2], 4), np.uint8), reference)

    def put(self, top: int, left: int, pixels: np.ndarray) -> None:  # (h, w, 4) uint8
        """Replace the paint in a rectangle; ValueError where it does not lie in the keyframe."""
        self.paint[box_at(top, left, pixels.shape, self.paint.shape)] = pixels

    def painted(self) -> np.ndarray:  # (H, W, 4), of the keyframe's type
        """The keyframe with the paint laid over it: opaque where it is painted over, the same to the bit where it is not."""
        result, top = self.reference.copy(), np.iinfo(self.reference.dtype).max
        touched = self.paint[..., 3] > 0
        below, above = to_float(self.reference[touched]), to_float(self.paint[touched])
        under = below[:, 3:] * (1 - above[:, 3:])
        alpha = above[:, 3:] + under
        colour = (above[:, :3] * above[:, 3:] + below[:, :3] * under) / alpha
        result[touched] = (np.concatenate([colour, alpha], -1) * top + 0.5).astype(self.reference.dtype)
        return result

    def frame(self, index: int) -> np.ndarray:  # (H, W, 3) uint8
        """The keyframe over its frame; of other frames, the source's."""
        frame = self.clip.frame(index)
        if index != self.index:
            return frame
        painted = to_8_bit(self.painted())
        alpha = to_float(painted[..., 3:])
        return (frame + alpha * (painted[..., :3].astype(np.float32) - frame) + 0.5).astype(np.uint8)

    def texel(self, index: int, x: int, y: int) -> tuple[float, float] | None:
        """The place in the keyframe that pixel x, y of its frame shows; None for other frames."""
        return (x + 0.5, y + 0.5) if index == self.index else None

    def save(self, path: Path) -> None:
        """Write the painted keyframe, and go on from it."""
        self.reference = self.painted()
        self.paint[:] = 0
        write_image(path, self.reference)
