"""Motion segmentation: masks of what moves against the background that the camera sees, without any help.

The background's motion between two frames is one homography, found by RANSAC from dense flow, with the
frame's border counting most. A pixel speaks for the foreground where its flow differs from that homography by
several times the background's own scatter *and* can be confirmed: water, leaves and shadows differ too, but
cannot be followed over several frames. Frames a few steps apart are compared as well as neighbours, so that what moves
slowly, or pauses, is seen. The evidence is averaged along the flow; where it is certain, a model learns what the object
looks like in the whole clip, and both together are cut out of the frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.masks.cutout import refine_mask, soften
from atlas.masks.folder import layer_names
from atlas.masks.moving.behind.plate import Plates
from atlas.masks.moving.by_appearance import cut_by_appearance
from atlas.masks.moving.by_colour import cut_by_colour
from atlas.masks.moving.by_ground import cut_by_ground
from atlas.masks.moving.cut import HalfClip
from atlas.masks.moving.doubt import doubtful, frame_ranges
from atlas.masks.moving.evidence import HELP, LEAST, footage, scored
from atlas.masks.moving.parts import MainParts
from atlas.masks.moving.shadows.removal import SHARP_SIDE, without_shadows
from atlas.storage.stack import RowStack
from atlas.system.progress import Progress
from atlas.system.terminal import say
from atlas.video.source import FrameSource, fit_image, fitted_size

_SIDE = 480
"""Pixels of the longer side that motion is searched at."""
_BAND, _WATER_BAND = 0.0125, 0.008
"""Longer sides by which edges are moved to those of the picture at most, where evidence is open; less in restless clips, in
which it is not asked."""
AUTO = "auto"
"""What --masks names them by."""
_METHOD = f"{AUTO} 7"  # raise it when the same frames give other masks: clips of them are then prepared again


@dataclass(frozen=True)
class MotionMasks:
    """Mask source: what moves against the background."""

    @classmethod
    def parse(cls, text: str, source: FrameSource, indices: list[int]) -> MotionMasks | None:
        """The source that `auto` names; None for any other text."""
        return cls() if text == AUTO else None

    @property
    def layers(self) -> list[str]:
        """All that moves is one object."""
        return layer_names(1)

    def masks(self, clip: Clip, *, quiet: bool) -> Iterator[list[np.ndarray]]:
        """Find what moves in all frames at once; what that takes lies in the clip's folder meanwhile."""
        return ([mask] for mask in masks_from_motion(clip.frame, clip.frames, quiet, clip.folder))

    def complete(self, clip: Clip) -> dict[str, list[int]]:
        """Nothing is missing."""
        return {}

    def remarks(self) -> list[str]:
        """Nothing had to be guessed."""
        return []

    def digest_parts(self) -> tuple[str | None, list[Path | str]]:
        """By what method they are found."""
        return _METHOD, []


def masks_from_motion(
    frame: Callable[[int], np.ndarray],
    frames: int,
    quiet: bool = False,
    scratch: Path | None = None,
    announce: Callable[[str], None] = say,
) -> Iterator[np.ndarray]:
    """Segment what moves against the background in all frames: (H, W) uint8 masks, frame by frame.

    frame: reads frame i as (H, W, 3) uint8. scratch: a folder for what is found of each frame, about as much as the clip's own
    files; memory does not grow with the clip. announce: is told, in a line, in which frames the masks are doubtful. Raises
    UserError, before the first mask, where nothing moves or everything does.
    """
    height, width = frame(0).shape[:2]
    size = fitted_size(width, height, _SIDE)
    with TemporaryDirectory(prefix=".motion-", dir=scratch) as folder:
        here = Path(folder)
        clip = footage(lambda index: fit_image(frame(index), size), frames, size, here, quiet=quiet)
        scores = scored(clip, here)
        half = HalfClip.of(clip.images, scores.__getitem__, clip.flows, here)
        # Appearance tells a swan from water that moves as well, but takes a part that moves only now and then for ground.
        cut = cut_by_appearance(half) if scores.restless else cut_by_colour(half)
        parts = MainParts(frames, cut.__getitem__, scores.__getitem__, cut.ground)
        plates: Plates | None = None
        if not scores.restless:  # of water other frames do not tell what it looks like
            plates = Plates(RowStack(here / "plates", (frames, *size[::-1], 4), np.uint8))
            cut = cut_by_ground(clip, half, cut, parts, plates, quiet=quiet)
            parts = MainParts(frames, cut.__getitem__, scores.__getitem__, cut.ground)
        masks = RowStack(here / "masks", (frames, *size[::-1]), np.bool_)
        band = max(2, round((_WATER_BAND if scores.restless else _BAND) * max(size)))
        for index in Progress(range(frames), desc="cutting out", unit="frame", quiet=quiet):
            mask = parts[index]
            # Colours that object and ground share must not overrule what the ground behind says: a white roof before a wall.
            settled = cut.settled(index, mask) if mask.any() and not scores.restless else None
            masks[index] = refine_mask(clip.images[index], mask, band, settled=settled) if mask.any() else mask
        if plates is not None:
            sharp = fitted_size(width, height, SHARP_SIDE)
            without_shadows(masks, half, plates, lambda index: fit_image(frame(index), sharp), quiet=quiet)
        share = float(np.mean([mask.mean() for mask in masks]))
        if share < LEAST:
            raise UserError(f"nothing moves against the background: {HELP}")
        if share > 0.95:
            raise UserError(f"no background was found, everything moves: {HELP}")
        if doubts := doubtful(frames, masks.__getitem__, cut.undecided, clip.flows):
            announce(f"--masks auto is unsure of frames {frame_ranges(doubts)}: look at the masks there, and {HELP}")
        for mask in masks:
            yield soften(mask, (width, height))
