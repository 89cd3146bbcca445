"""Mask sources: where masks can come from, and how the text of --masks chooses one. Add a new one to `SOURCES`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from atlas.clip.clip import Clip
from atlas.masks.box import BoxMasks
from atlas.masks.film import MaskFilm
from atlas.masks.folder import MaskFolder
from atlas.masks.learned.options import NetworkOptions
from atlas.masks.learned.prompted import PromptedMasks
from atlas.masks.learned.salient import SalientMasks
from atlas.masks.motion import MotionMasks
from atlas.masks.none import NoMasks
from atlas.video.source import FrameSource


class MaskSource(Protocol):
    """Gives the masks of all objects in a clip."""

    @property
    def layers(self) -> list[str]:
        """Names of the objects, front to back."""

    def masks(self, clip: Clip, *, quiet: bool) -> Iterable[Sequence[np.ndarray]]:
        """The masks of a clip whose frames are written, frame by frame: one of each object, (H, W) uint8, 255 inside."""

    def complete(self, clip: Clip) -> dict[str, list[int]]:
        """Mend what is missing among the masks once they and the flow are written; the frames that got one, by layer."""

    def remarks(self) -> list[str]:
        """Say what was understood of what was given, a line each."""

    def digest_parts(self) -> tuple[str | None, list[Path | str]]:
        """What decides the masks beside the frames: a text, and files."""


SOURCES: tuple[Callable[[str, FrameSource, list[int]], MaskSource | None], ...] = (
    MotionMasks.parse,
    NoMasks.parse,
    BoxMasks.parse,
    MaskFilm.parse,
    MaskFolder.parse,
)
"""(text of --masks, source, its frames that make the clip) -> masks, None where the text means others; the last takes all."""


BY_NETWORKS: tuple[Callable[[str, FrameSource, list[int], NetworkOptions], MaskSource | None], ...] = (
    PromptedMasks.parse,
    SalientMasks.parse,
)
"""The same of those that networks find, which are asked first: they leave a box to others where they lack weights."""


def open_mask_source(text: str, source: FrameSource, indices: list[int], networks: NetworkOptions | None = None) -> MaskSource:
    """Open the mask source that the text of --masks names; UserError where it will not do."""
    networks = networks or NetworkOptions()
    for parse in BY_NETWORKS:
        if (found := parse(text, source, indices, networks)) is not None:
            return found
    return next(masks for parse in SOURCES if (masks := parse(text, source, indices)) is not None)
