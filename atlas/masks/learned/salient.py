"""Salient object segmentation of a clip: a network's word on each frame, joined with motion and averaged along the flow.

A network that sees single pictures flickers, and takes whatever stands out, moving or not. So its masks are averaged along the
flow; where they are unsure, motion against the background decides; and of several salient things those that move stay. What
is decided so at low resolution, except along edges, is then put into the network's own masks, which have the finer ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.masks.folder import layer_names
from atlas.masks.learned.options import NetworkOptions
from atlas.masks.learned.salience import SalienceNetwork, check_file
from atlas.masks.moving.along import Averages
from atlas.masks.moving.evidence import LEAST, Footage, footage
from atlas.masks.moving.parts import MainParts
from atlas.storage.stack import RowStack
from atlas.system.progress import Progress
from atlas.video.source import FrameSource, fit_image, fitted_size

SALIENT = "salient"
"""What --masks names them by."""
_SIDE = 480
"""Pixels of the longer side that motion is searched at."""
_MEMORY = 0.8
"""How much of what is known is handed on to the next frame."""
_STILL = 0.25
"""What a salient thing weighs that stands still, where another moves."""
_SURELY_NOT = 0.1
"""Below it a pixel is surely ground: a hole that shows much of that stays a hole."""
_HAZE = 0.2
"""Opacity below which nothing is there, and short of 1 from which on all is."""
_EDGE = 4
"""Pixels on both sides of an edge, half a patch of the flow: nearer, the motion of both sides mixes."""
_OTHER = 0.25
"""Opacity by which the network differs from what was decided where it counts as otherwise."""
_METHOD = "salient 1"  # raise it when the same network gives other masks: clips of them are then prepared again


@dataclass(frozen=True)
class SalientMasks:
    """Mask source: what a network finds salient, and moves."""

    file: Path

    @classmethod
    def parse(cls, text: str, source: FrameSource, indices: list[int], networks: NetworkOptions) -> SalientMasks | None:
        """The source that `salient` names; None for any other text. UserError where the network's file will not do."""
        if text != SALIENT:
            return None
        if networks.salient is None:
            raise UserError("--masks salient needs a network: name its ONNX file (ISNet's, say) with --salient FILE")
        check_file(networks.salient)
        return cls(networks.salient)

    @property
    def layers(self) -> list[str]:
        """All that is salient is one object."""
        return layer_names(1)

    def masks(self, clip: Clip, *, quiet: bool) -> Iterator[list[np.ndarray]]:
        """Find what is salient in all frames; what that takes lies in the clip's folder meanwhile."""
        network = SalienceNetwork(self.file)
        return ([mask] for mask in masks_from_salience(network, clip.frame, clip.frames, quiet, clip.folder))

    def complete(self, clip: Clip) -> dict[str, list[int]]:
        """Nothing is missing."""
        return {}

    def remarks(self) -> list[str]:
        """Which network looks for objects."""
        return [f"{self.file.name} says what is salient, motion which of it is taken"]

    def digest_parts(self) -> tuple[str | None, list[Path | str]]:
        """The network."""
        return _METHOD, [self.file]


def masks_from_salience(
    salience: Callable[[np.ndarray], np.ndarray],  # (H, W, 3) uint8 -> (H, W) float32 in [0, 1]
    frame: Callable[[int], np.ndarray],  # reads frame i as (H, W, 3) uint8
    frames: int,
    quiet: bool = False,
    scratch: Path | None = None,
) -> Iterator[np.ndarray]:  # (H, W) uint8 each
    """Segment what is salient and moves in all frames. Memory does not grow with the clip: scratch is a folder for what is
    found of each frame, about as much as the clip's own files. UserError, before the first mask, where nothing stands out.
    """
    height, width = frame(0).shape[:2]
    size = fitted_size(width, height, _SIDE)
    with TemporaryDirectory(prefix=".salient-", dir=scratch) as folder:
        here = Path(folder)
        given = RowStack(here / "given", (frames, height, width), np.uint8)
        for index in Progress(range(frames), "salience", unit="frame", quiet=quiet):
            given[index] = salience(frame(index)) * 255 + 0.5
        clip = footage(lambda index: fit_image(frame(index), size), frames, size, here, quiet=quiet)
        joined = _Joined(clip, given, here)
        parts = MainParts(frames, lambda index: joined[index] > 0.5, joined.weight, lambda index: joined[index] < _SURELY_NOT)
        share = float(np.mean([parts[index].mean() for index in range(frames)]))
        if share < LEAST:
            raise UserError("the network finds nothing salient that lasts: point the object out with --masks points:0:x,y")
        if share > 0.95:
            raise UserError("the network finds the whole frame salient: point the object out with --masks points:0:x,y")
        for index in range(frames):
            yield _finest(given[index], joined[index], parts[index])


class _Joined:
    """Evidence of salience and motion, averaged along the flow, at low resolution."""

    def __init__(self, clip: Footage, given: RowStack, scratch: Path) -> None:
        frames, height, width = clip.motion.shape[:3]

        def values(index: int) -> np.ndarray:
            salient = fit_image(given[index], (width, height)).astype(np.float32) / 255
            return np.dstack([salient, clip.motion[index][..., 0].astype(np.float32)])

        shape = (frames, height, width, 2)
        self._averages = Averages(scratch / "joined", values, shape, clip.flows, _MEMORY, clip.flows.trust)
        # Motion has a say where what is salient moves at all.
        shares = []
        for salient, moving in map(self._both, range(frames)):
            if (inside := salient > 0.5).any():
                shares.append(moving[inside].mean())
        self._moves = bool(shares) and float(np.mean(shares)) > 0.1

    def _both(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """How salient the pixels of a frame are, and how much they move, (h, w) float32 each."""
        salient, moving = np.moveaxis(self._averages[index], -1, 0)
        return salient, moving

    def __getitem__(self, index: int) -> np.ndarray:
        """How much each pixel belongs to the foreground, (H, W) float32 in [0, 1]: more than 0.5 does."""
        salient, moving = self._both(index)
        if not self._moves:
            return salient
        return np.clip(salient + (1 - np.abs(2 * salient - 1)) * (moving - 0.5), 0, 1)

    def weight(self, index: int) -> np.ndarray:
        """What each pixel weighs for the part that it belongs to, (H, W) float32 in [0, 1]."""
        _, moving = self._both(index)
        return self[index] * (_STILL + (1 - _STILL) * moving if self._moves else 1)


def _finest(given: np.ndarray, joined: np.ndarray, mask: np.ndarray) -> np.ndarray:  # (H, W) uint8; (h, w) float32; (h, w) bool
    """The network's mask of a frame, (H, W) uint8, changed where what was decided at low resolution is otherwise.

    Along edges the network knows better, so where the difference is thin its word stands.
    """
    full = given.shape[1], given.shape[0]
    rough = fit_image(given, (mask.shape[1], mask.shape[0])).astype(np.float32) / 255
    decided = np.where(mask, np.clip((np.maximum(joined, 0.5) - 0.35) / 0.3, 0, 1), 0).astype(np.float32)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _EDGE + 1, 2 * _EDGE + 1))
    other = (np.abs(decided - rough) > _OTHER).astype(np.uint8)
    thick = cv2.dilate(cv2.morphologyEx(other, cv2.MORPH_OPEN, disc), disc)
    change = np.where(thick > 0, decided - rough, 0).astype(np.float32)
    opacity = given.astype(np.float32) / 255 + cv2.resize(change, full, interpolation=cv2.INTER_LINEAR)
    return (np.clip((opacity - _HAZE) / (1 - 2 * _HAZE), 0, 1) * 255 + 0.5).astype(np.uint8)
