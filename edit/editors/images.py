"""Keyframes that were edited elsewhere: a folder of images named by frame number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.clip.clip import Clip
from atlas.errors import UserError, a_few
from atlas.storage.images import to_float
from atlas.storage.pictures import picture_header
from atlas.storage.stamps import digest
from atlas.video.numbered import NumberedImages, check_folder
from edit.editors.protocol import Editor, FittedLayer, Keyframe, KeyframeEditor
from edit.request.keyframes import checked
from edit.request.options import LayerOptions

_METHOD = 2  # raise it when the same images are read otherwise


@dataclass(kw_only=True)
class ImagesOptions(LayerOptions):
    """Options of --editor images."""

    images: Path | None = None
    """With --editor images: folder of edited frames named by frame number (12.png, frame_00012.jpg), RGB or RGBA, alpha = where the edit applies; with --on frames one of every frame."""  # noqa: E501


class ImagesEditor(Editor[ImagesOptions], KeyframeEditor):
    """Takes each keyframe from a folder; alpha, where there is one, says where the edit applies."""

    meaning, needs, options_type = "keyframes edited elsewhere", "images", ImagesOptions

    def check_early(self) -> None:
        """UserError where the folder is missing."""
        check_folder(self._folder, "--images")

    def check_for(self, clip: Clip, layer: str) -> None:
        """UserError where an image that is asked for is missing, unreadable, or of another size than the clip's frames."""
        self._checked_keyframes(clip)

    def open(self, layer: FittedLayer) -> KeyframeEditor:
        """Every image of the folder is a keyframe where the user named none."""
        numbers = self._checked_keyframes(layer.clip)
        if numbers is None:
            numbers = self.chosen_keyframes(layer)
            self._images.check(numbers)
        self.order = numbers
        self.deep = self.options.on == "frames" and any(picture_header(self._images.files[i]).depth > 1 for i in numbers)
        return self

    def fingerprint(self) -> str:
        """Digest of the images' bytes."""
        return digest(_METHOD, *(self._images.files[index] for index in self.keyframes))

    def edit(self, keyframe: Keyframe) -> np.ndarray:
        """The image of this frame number as (H, W, 4) float32."""
        return to_float(self._images.read(keyframe.index))

    @property
    def _folder(self) -> Path:
        assert self.options.images is not None
        return self.options.images

    def _checked_keyframes(self, clip: Clip) -> list[int] | None:
        """The keyframes, their images checked; None where coverage is to choose them."""
        self._images = NumberedImages(self._folder, clip.width, clip.height, "--images")
        found = list(self._images.files)
        if self.options.on == "frames" and (missing := sorted(set(range(clip.frames)) - set(found))):
            raise UserError(
                f"{self._folder} has no image of frame {a_few(missing)}: --on frames needs one of each, 00000.png to "
                f"{clip.frames - 1:05d}.png"
            )
        if self.options.keyframes is None:
            numbers: list[int] | None = checked(found, clip.frames)
        else:
            numbers = self.named_keyframes(clip)
        self._images.check(numbers or [])
        return numbers
