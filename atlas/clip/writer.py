"""ClipWriter: the writer of a clip's folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from atlas.clip.clip import Clip
from atlas.clip.flow import Given, write_flow
from atlas.storage.images import write_image
from atlas.storage.links import link_or_copy
from atlas.system.progress import Progress


@dataclass
class ClipWriter:
    """Writes the files of a clip that is described already: frames, then masks and flow, in the end clip.json.

    What is written can be read through `clip` at once; for everybody else its folder is a clip when `finish` has been called.
    """

    clip: Clip
    quiet: bool = True

    def write_frames(self, images: Iterable[np.ndarray]) -> None:
        """Write all frames in order, (H, W, 3) uint8."""
        for index, image in enumerate(Progress(images, "frames", self.clip.frames, unit="frame", quiet=self.quiet)):
            write_image(self.clip.frame_path(index), image)

    def write_masks(self, masks: Iterable[Sequence[np.ndarray]]) -> None:
        """Write the masks of all frames in order: of each frame those of all objects, front to back, (H, W) uint8."""
        for index, of_frame in enumerate(masks):
            for layer, mask in zip(self.clip.objects, of_frame, strict=True):
                write_image(self.clip.mask_path(layer, index), mask)

    def link_pictures(self, other: Clip, order: Sequence[int]) -> None:
        """Take over frames and masks of another clip of this size and these layers, as hard links: frame order[t] becomes t."""
        for new, old in enumerate(order):
            link_or_copy(other.frame_path(old), self.clip.frame_path(new))
            for layer in self.clip.objects:
                link_or_copy(other.mask_path(layer, old), self.clip.mask_path(layer, new))

    def write_flow(self, given: Given | None = None) -> None:
        """Measure the optical flow between the frames that were written, or take that which is given."""
        write_flow(self.clip.folder / "flow", self.clip.frames, self.clip.frame, given=given, quiet=self.quiet)

    def finish(self) -> Clip:
        """Write clip.json, by which the folder is a clip."""
        self.clip.save()
        return self.clip
