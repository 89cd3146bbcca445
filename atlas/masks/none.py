"""No masks: a clip without objects, whose frames are edited as wholes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.clip.clip import Clip
from atlas.video.source import FrameSource

NONE = "none"
"""What --masks names them by."""


@dataclass(frozen=True)
class NoMasks:
    """Mask source: nothing is foreground; the clip has the one layer of the background."""

    @classmethod
    def parse(cls, text: str, source: FrameSource, indices: list[int]) -> NoMasks | None:
        """The source that `none` names; None for any other text."""
        return cls() if text == NONE else None

    @property
    def layers(self) -> list[str]:
        """There are no objects."""
        return []

    def masks(self, clip: Clip, *, quiet: bool) -> Iterator[list[np.ndarray]]:
        """Of each frame those of no object."""
        return ([] for _ in range(clip.frames))

    def complete(self, clip: Clip) -> dict[str, list[int]]:
        """Nothing is missing."""
        return {}

    def remarks(self) -> list[str]:
        """What such a clip is good for."""
        return ["without masks the whole clip is one layer, background: edit whole frames with --layer all"]

    def digest_parts(self) -> tuple[str | None, list[Path | str]]:
        """The text."""
        return NONE, []
