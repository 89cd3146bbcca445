"""The scene that a recipe edits: a clip's frames seen through crops of one size, and the maps of the fit seen through them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from atlas.clip.clip import BACKGROUND, WHOLE_FRAME, Clip
from atlas.clip.edits import Edit, read_keyframe
from atlas.errors import UserError
from atlas.maps.coverage import visibility
from atlas.maps.maps import Maps
from atlas.maps.views import CroppedMaps
from atlas.storage.images import to_float
from edit.deflicker.protocol import Guides
from edit.diffusion.crop import Crop
from edit.diffusion.steady_crops import steady_crops, whole_crop


@dataclass(frozen=True)
class Scene:
    """What is edited of a clip, at the size that the model sees."""

    clip: Clip
    layer: str
    """A layer of the fit, or `all`."""
    fit: Maps | None
    size: Callable[[], int]
    """Shorter side in pixels of what the model sees; asked for when it is needed, as weights may have to be loaded for it."""

    @cached_property
    def crops(self) -> list[Crop]:
        """What the model sees of each frame: a steady crop of the layer; of the background and whole frames all of it."""
        return self._crops(self.size())

    def crop_of_size(self, index: int, size: tuple[int, int]) -> Crop:
        """The crop of a frame that the model saw at a size (H, W): a picture that was kept is placed without the model."""
        return replace(self._boxes[index], height=size[0], width=size[1])

    @cached_property
    def _boxes(self) -> list[Crop]:
        return self._crops(1)

    def _crops(self, size: int) -> list[Crop]:
        clip, fit, layer = self.clip, self.fit, self.layer
        if layer in (WHOLE_FRAME, BACKGROUND) or fit is None:
            return [whole_crop(clip.height, clip.width, size)] * clip.frames
        return steady_crops((fit.opacity(layer, index) for index in range(clip.frames)), size)

    @property
    def frames(self) -> int:
        """How many there are."""
        return self.clip.frames

    @property
    def height(self) -> int:
        """Pixels that the model sees."""
        return self.crops[0].height

    @property
    def width(self) -> int:
        """Pixels that the model sees."""
        return self.crops[0].width

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(T, H, W, 3) of a stack of its frames."""
        return self.frames, self.height, self.width, 3

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers of the fit that are edited."""
        if self.fit is None:
            return ()
        return tuple(self.fit.layers) if self.layer == WHOLE_FRAME else (self.layer,)

    @cached_property
    def maps(self) -> CroppedMaps:
        """The maps of the fit through the crops; UserError where there is no fit."""
        if self.fit is None:
            raise UserError(f"{self.clip.folder} is edited without a fit, which this recipe needs: run fit.py first")
        return CroppedMaps(self.fit, [crop.box for crop in self.crops], self.height, self.width)

    @cached_property
    def guides(self) -> Guides:
        """What deflickering may look at."""
        maps = None if self.fit is None else self.maps
        return Guides(self.source, maps, self.layers, steady=len(set(self.crops)) == 1)

    def picture(self, index: int) -> np.ndarray:
        """A frame as the model sees it, (H, W, 3) uint8."""
        return self.crops[index].cut(self.clip.frame(index))

    def source(self, index: int) -> np.ndarray:
        """The same as floats, (H, W, 3) float32 in [0, 1]."""
        return to_float(self.picture(index))

    def edited(self, edit: Edit, index: int) -> np.ndarray:
        """A frame of another edit on frames as the model sees it, laid over the source by its alpha, (H, W, 3) float32."""
        keyframe = to_float(read_keyframe(edit.keyframe_path(self.layer, index), self.clip, index))
        frame = to_float(self.clip.frame(index))
        return self.crops[index].cut(frame + keyframe[..., 3:] * (keyframe[..., :3] - frame))

    def anchors(self, count: int | None) -> list[int]:
        """Choose anchors: frames that together see most of the layer, evenly spread ones of whole frames; None: the first."""
        if count is None:
            return [0]
        if self.fit is None or self.layer == WHOLE_FRAME:
            most = min(count, self.frames)
            return [(2 * part + 1) * self.frames // (2 * most) for part in range(most)]
        return visibility(self.fit, self.layer).choose(count)

    def foreground(self, index: int) -> np.ndarray:
        """What does not belong to the background, (H, W) float32 in [0, 1]."""
        if self.layer in (WHOLE_FRAME, BACKGROUND):
            return 1 - self.maps.opacity(BACKGROUND, index)
        return self.maps.opacity(self.layer, index)
