"""Flickering frames: the frames of an edit that are to agree, as keyframes of every frame or as they are rendered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from atlas.clip.clip import WHOLE_FRAME, Clip
from atlas.clip.edits import Edit, read_keyframe
from atlas.maps.lay_over import where_applied
from atlas.maps.maps import Maps, open_maps
from atlas.rendering.edited_frames import EditedFrames
from atlas.rendering.frames import Rendering
from atlas.rendering.settings import RenderSettings
from atlas.storage.images import to_float, to_uint8, to_uint16
from atlas.storage.stack import FrameStack
from atlas.system.device import Device, choose_device
from atlas.system.progress import Progress


class Flickering(Protocol):
    """The frames of a layer of an edit, or of the whole edit: read one by one, and given back as they are saved."""

    @property
    def layer(self) -> str:
        """A layer of the clip, or `all`."""
        ...

    def made_from(self) -> list[Any]:
        """What decides the frames, for a digest."""
        ...

    def fill(self, stack: FrameStack, *, quiet: bool) -> bool:
        """Write all frames to a stack; returns whether the edit applies everywhere in them."""
        ...

    def applies(self, index: int) -> np.ndarray:  # (H, W) float32
        """Where the edit of a frame applies, in [0, 1]."""
        ...

    def saved(self, index: int, colour: np.ndarray) -> np.ndarray:  # (H, W, 3) floats -> (H, W, 4) uint8 or uint16
        """The frame in other colours as it is saved, with the alpha and the bits that it had."""
        ...


@dataclass(frozen=True)
class EveryKeyframe:
    """A layer that was edited on every frame, or whole frames that were."""

    clip: Clip
    layer: str
    files: dict[int, Path]
    maps: Maps | None
    """Of the fit that the layer was cut out by; None of whole frames."""

    def made_from(self) -> list[Any]:
        """The files' bytes."""
        return list(self.files.values())

    def fill(self, stack: FrameStack, *, quiet: bool) -> bool:
        """Read the files one by one."""
        everywhere = True
        for index in Progress(range(self.clip.frames), "read", unit="frame", quiet=quiet):
            image = to_float(read_keyframe(self.files[index], self.clip, index))
            opacity = self._opacity(index)
            stack[index] = image[..., :3]
            everywhere &= bool((where_applied(image[..., 3], opacity)[opacity > 0] == 1).all())
        return everywhere

    def applies(self, index: int) -> np.ndarray:  # (H, W) float32
        """The file's alpha over the layer's opacity."""
        return where_applied(to_float(read_keyframe(self.files[index], self.clip, index)[..., 3]), self._opacity(index))

    def saved(self, index: int, colour: np.ndarray) -> np.ndarray:  # (H, W, 3) floats -> (H, W, 4) uint8 or uint16
        """The colours where the file's alpha is above 0, the file's elsewhere."""
        image = read_keyframe(self.files[index], self.clip, index)
        rounded = (to_uint8 if image.dtype == np.uint8 else to_uint16)(colour)
        return np.dstack([np.where(image[..., 3:] > 0, rounded, image[..., :3]), image[..., 3]])

    def _opacity(self, index: int) -> np.ndarray:  # (H, W)
        if self.maps is None:
            return np.ones((self.clip.height, self.clip.width), np.float32)
        return self.maps.opacity(self.layer, index)


@dataclass(frozen=True)
class EveryRenderedFrame:
    """Whole frames as the edit is rendered."""

    rendering: Rendering
    layer: str = WHOLE_FRAME

    def made_from(self) -> list[Any]:
        """All that is rendered from."""
        return [self.rendering.made_from()]

    def fill(self, stack: FrameStack, *, quiet: bool) -> bool:
        """Render them one by one."""
        frames = Progress(self.rendering.frames(), "render", len(stack), unit="frame", quiet=quiet)
        for index, (_, frame) in enumerate(frames):
            stack[index] = to_float(frame)
        return True

    def applies(self, index: int) -> np.ndarray:  # (H, W) float32
        """Everywhere."""
        return np.ones((self.rendering.height, self.rendering.width), np.float32)

    def saved(self, index: int, colour: np.ndarray) -> np.ndarray:  # (H, W, 3) floats -> (H, W, 4) uint8
        """Opaque, in 8 bits."""
        return np.dstack([to_uint8(colour), np.full(colour.shape[:2], 255, np.uint8)])


def open_flickering(clip: Clip, edit: Edit, device: Device) -> list[Flickering]:
    """Open the frames of an edit: layer by layer where all were edited on every frame, else as they are rendered.

    UserError where frames are missing or of another size, where they were made on another fit, or cannot be rendered.
    """
    if not edit.layers or not all(edit.is_on_frames(layer) for layer in edit.layers):
        return [EveryRenderedFrame(Rendering.open(clip.folder, edit.name, RenderSettings(device=device)))]
    maps = None if WHOLE_FRAME in edit.layers else open_maps(clip, edit.fit)
    files = EditedFrames.open(clip, edit, maps, choose_device(device)).files
    return [EveryKeyframe(clip, layer, files[layer], maps) for layer in edit.layers]
