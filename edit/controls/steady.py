"""Control images made steady through the atlas: what flickers in them would make the result flicker."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from atlas.geometry.boxes import Box
from atlas.maps.consensus import ConsensusSettings, through_atlas
from atlas.maps.trust import source_trust
from atlas.maps.views import CroppedMaps, ViewMaps
from atlas.storage.images import to_float, to_uint8
from atlas.storage.stack import FrameStack
from edit.controls.depth_scale import in_one_scale
from edit.request.prompting import STEADIED, Control

Source = Callable[[int], np.ndarray]


def steadied(
    images: FrameStack,  # (T, H, W, 3), the control images of all frames
    maps: ViewMaps,  # of that size
    kind: Control,
    result: FrameStack,
    *,
    source: Source | None = None,
    robust: bool = True,
    device: torch.device | str = "cpu",
    quiet: bool = True,
) -> None:
    """Steady control images: average them in the atlas of every layer, and add to each what the mean differs by from it.

    Depth maps are brought to one scale first (`in_one_scale`). The layers' light is no part of control images, and stays
    away. What comes out is in [0, 1]. ValueError for kinds that stay as they are (`STEADIED` lists the others).

    source: the clip's frame of a number, (H, W, 3) in [0, 1]: where the fit does not show it, images are not averaged; None: it
    is right everywhere. robust: of several looks of a place take the commoner, not the mean: estimators fail in single frames.
    """
    if kind not in STEADIED:
        raise ValueError(f"controls of the kind {kind} are not steadied")
    trust = None if source is None else source_trust(maps, source, device)
    with contextlib.ExitStack() as opened:
        if kind == "depth":
            scaled = opened.enter_context(FrameStack(result.path.with_name(f"{result.path.name}.scaled"), images.shape))
            in_one_scale(images, maps, scaled, device=device)
            images = scaled
        settings = ConsensusSettings(robust=robust)
        through_atlas(images, _Unlit(maps), maps.layers, result, settings, trust=trust, device=device, quiet=quiet)


def steadied_keyframes(
    images: Sequence[np.ndarray],  # each (h, w, 3) uint8, of any size: the control images of keyframes
    frames: Sequence[int],
    boxes: Sequence[Box],
    maps: ViewMaps,
    kind: Control,
    source: Source,  # (H, W, 3) uint8: the clip's whole frame of a number
    folder: Path,
    *,
    device: torch.device | str = "cpu",
) -> list[np.ndarray]:  # each (h, w, 3) uint8
    """Steady the control images of some frames, each of a box of its frame, seen at a size of its own.

    They agree at one size, the largest; what each has to change there is added to it at its own size. Stacks lie in `folder`
    meanwhile.
    """
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    shape = len(images), height, width, 3

    def seen(number: int) -> np.ndarray:
        return _resized(to_float(source(frames[number])[boxes[number]]), height, width)

    with FrameStack(folder / "controls.bin", shape) as given, FrameStack(folder / "steadied.bin", shape) as agreed:
        for number, image in enumerate(images):
            given[number] = _resized(to_float(image), height, width)
        views = CroppedMaps(maps, boxes, height, width, frames)
        steadied(given, views, kind, agreed, source=seen, device=device)
        return [
            to_uint8(to_float(image) + _resized(agreed[number] - given[number], *image.shape[:2]))
            for number, image in enumerate(images)
        ]


class _Unlit(CroppedMaps):
    """Maps as they are, but for the layers' light."""

    def __init__(self, maps: ViewMaps) -> None:
        whole = slice(0, maps.height), slice(0, maps.width)
        super().__init__(maps, [whole] * maps.frames, maps.height, maps.width)

    def light(self, layer: str, frame: int) -> np.ndarray:
        """(height, width, 3) float32, all 1."""
        return np.ones((self.height, self.width, 3), np.float32)

    def has_light(self, layer: str) -> bool:
        """No."""
        return False


def _resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
