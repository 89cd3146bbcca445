"""What the prior is trained on and judged by: source and edit at the network's size, and what neighbouring frames show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from atlas.clip.flow import dense_flow, flow_validity
from atlas.geometry.flow import along_flow
from atlas.storage.images import to_uint8
from atlas.storage.stack import FrameStack
from atlas.system.progress import Progress
from edit.deflicker.protocol import Guides

_LEAST = 16  # pixels that optical flow needs


@dataclass(frozen=True)
class Footage:
    """Frames at the network's size, on the disk."""

    source: FrameStack
    """(T, h, w, 3)"""
    edited: FrameStack
    """(T, h, w, 4): the edit, and where it applies."""
    around: FrameStack
    """(T, h, w, 4): the mean of the two neighbours' edits along the source's flow, and how much of it is known.

    The frame's own edit has no part in it, so neither has its own flicker.
    """

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) in pixels."""
        return self.source.shape[1:3]

    def __len__(self) -> int:
        return len(self.source)


@contextmanager
def shrunk_footage(frames: FrameStack, guides: Guides, place: Path, longest: int, *, quiet: bool = True) -> Iterator[Footage]:
    """Shrink frames and source to `longest` pixels on their longer side; files named after `place` until the block ends."""
    height, width = shrunk_size(*frames.shape[1:3], longest)
    with ExitStack() as files:
        stacks = {
            name: files.enter_context(FrameStack(place.with_suffix(f".{name}"), (len(frames), height, width, channels)))
            for name, channels in (("source", 3), ("edited", 4), ("around", 4))
        }
        footage = Footage(**stacks)
        for index in Progress(range(len(frames)), desc="shrink", unit="frame", quiet=quiet, leave=False):
            applies = np.ones(frames.shape[1:3], np.float32) if guides.applies is None else guides.applies(index)
            footage.source[index] = resized(guides.source(index), height, width)
            footage.edited[index] = resized(np.dstack([frames[index], applies]), height, width)
        _look_around(footage, quiet=quiet)
        yield footage


def shrunk_size(height: int, width: int, longest: int) -> tuple[int, int]:
    """Size (h, w) of frames with at most `longest` pixels on the longer side, but no side under what flow needs."""
    share = min(1.0, longest / max(height, width))
    return max(_LEAST, round(share * height)), max(_LEAST, round(share * width))


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:  # (H, W, C) -> (height, width, C)
    """Resize by area where it shrinks, bicubically where it grows; the same image where it does neither."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = height * width < image.shape[0] * image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def _look_around(footage: Footage, *, quiet: bool) -> None:
    carried = np.zeros((*footage.size, 4), np.float32)
    last = len(footage) - 1
    for index in Progress(range(last), desc="flow", unit="frame", quiet=quiet, leave=False):
        here, there = (to_uint8(footage.source[i]) for i in (index, index + 1))
        forward, backward = dense_flow(here, there), dense_flow(there, here)
        footage.around[index] = _mean(carried + _warped(footage.edited[index + 1], forward, flow_validity(forward, backward)))
        carried = _warped(footage.edited[index], backward, flow_validity(backward, forward))
    footage.around[last] = _mean(carried)


def _warped(edited: np.ndarray, flow: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Another frame's edit as it looks from this one, times its weight, and its weight: (h, w, 4)."""
    warped = along_flow(edited, flow)
    weight = warped[..., 3:] * valid[..., None]
    return np.concatenate([warped[..., :3] * weight, weight], -1)


def _mean(total: np.ndarray) -> np.ndarray:
    return np.concatenate([total[..., :3] / np.maximum(total[..., 3:], 1e-6), total[..., 3:] / 2], -1)
