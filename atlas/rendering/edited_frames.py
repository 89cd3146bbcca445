"""Edited frames: the keyframes of an edit that has one of every frame, checked, and read one by one as they are rendered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit, read_keyframe
from atlas.errors import EDIT, UserError, a_few
from atlas.geometry.filling import nearest_seen
from atlas.geometry.texture import Texture
from atlas.maps.lay_over import EditedFrame, where_applied
from atlas.maps.layer_view import PURE
from atlas.maps.maps import Maps, fit_identity
from atlas.rendering.edited import fit_colours
from atlas.storage.images import to_8_bit, to_16_bit, to_float
from atlas.storage.pictures import WantedSize, picture_header

_RIM = 8.0
"""Pixels beyond a layer over which its colours are carried on before they are enlarged."""


@dataclass(frozen=True)
class EditedFrames:
    """The edited frames of the layers that were edited on every frame; nothing but the frame at hand is held in memory."""

    clip: Clip
    maps: Maps | None
    """None where whole frames were edited."""
    files: dict[str, dict[int, Path]]
    """layer -> frame -> file."""
    own: dict[str, Texture]
    """The layers' colours in the fit."""

    @classmethod
    def open(cls, clip: Clip, edit: Edit, maps: Maps | None, device: torch.device) -> EditedFrames:
        """Find the edited frames; UserError where one is missing or of another size, or they are of another fit or clip."""
        layers = [layer for layer in edit.layers if edit.is_on_frames(layer)]
        for layer in layers:
            made_on = clip.identity() if maps is None else fit_identity(clip, maps, layer)
            if not edit.frames_are_of(layer, made_on):
                what = f"clip {clip.folder}" if maps is None else f"fit {edit.fit!r}"
                raise UserError(f"the {what} has changed since {edit.folder} was made on it: run {EDIT} again")
        files = {layer: _checked(clip, edit, layer) for layer in layers}
        return cls(clip, maps, files, {} if maps is None else fit_colours(maps, layers, device))

    @property
    def layers(self) -> list[str]:
        """The layers that were edited on every frame, or `all` alone."""
        return list(self.files)

    def paths(self) -> list[Path]:
        """List all files, in a fixed order."""
        return [path for files in self.files.values() for path in files.values()]

    def over(self, index: int, frame: np.ndarray) -> dict[str, EditedFrame]:
        """Read frame `index` of every layer as it is laid over the source's `frame`, (H, W, 3): of its type and its size."""
        return {layer: self._read(layer, index, frame) for layer in self.files}

    def _read(self, layer: str, index: int, frame: np.ndarray) -> EditedFrame:
        image = read_keyframe(self.files[layer][index], self.clip, index)
        colour = (to_8_bit if frame.dtype == np.uint8 else to_16_bit)(image[..., :3])
        applies, opacity = to_float(image[..., 3]), None
        if self.maps is not None:
            opacity = self.maps.opacity(layer, index)
            applies = where_applied(applies, opacity)
        if frame.shape[:2] != image.shape[:2]:
            colour, applies = _enlarged(colour, applies, opacity, *frame.shape[:2])
        return EditedFrame(colour, applies, self.own.get(layer), scale=frame.shape[1] / self.clip.width)


def _checked(clip: Clip, edit: Edit, layer: str) -> dict[int, Path]:
    """The files of a layer, by frame."""
    files, folder = edit.keyframes(layer), edit.keyframes_folder(layer)
    if missing := [index for index in range(clip.frames) if index not in files]:
        named = f"frame{'s' if len(missing) > 1 else ''} {a_few(missing)}"
        raise UserError(f"{folder} lacks {named}: bring back what was deleted, or run {EDIT} again")
    size = WantedSize(clip.height, clip.width, "the clip's frames are", "save it without scaling")
    for index in range(clip.frames):
        picture_header(files[index], size)
    return {index: files[index] for index in range(clip.frames)}


def _enlarged(
    colour: np.ndarray,  # (h, w, 3)
    applies: np.ndarray,  # (h, w)
    opacity: np.ndarray | None,  # (h, w) of the layer; None of whole frames
    height: int,
    width: int,
) -> tuple[np.ndarray, np.ndarray]:  # (H, W, 3), (H, W)
    """Enlarge a frame by Lanczos, its layer's colours carried on beyond it first: what lies behind must not bleed in."""
    if opacity is not None and (inside := opacity > PURE).any():
        distance, nearest = nearest_seen(inside)
        rim = ~inside & (distance <= _RIM)
        colour, applies = colour.copy(), applies.copy()
        colour[rim], applies[rim] = colour.reshape(-1, 3)[nearest[rim]], applies.reshape(-1)[nearest[rim]]
    colour = cv2.resize(colour, (width, height), interpolation=cv2.INTER_LANCZOS4)
    return colour, np.clip(cv2.resize(applies, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)
