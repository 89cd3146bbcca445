"""Training data of a fit: random small square patches of frames, mask depths and optical flow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from atlas.clip.clip import Clip
from atlas.geometry.boxes import bounding_box
from atlas.masks.clip_depth import depth_reader
from atlas.masks.depth import STEPS, background_weight, object_weight, unpack_depth
from atlas.storage.arrays import StoredArray, growing_arrays
from atlas.storage.images import to_float
from atlas.system.parallel import in_order, one_thread
from atlas.system.progress import Progress


@dataclass
class Batch:
    """Patches of pixels and where the flow takes them. P patches of S x S pixels, N = P * S * S."""

    xyt: Tensor  # (N, 3)
    colour: Tensor  # (P, S, S, 3)
    depth: Tensor  # (objects, N)
    moved: Tensor  # (M, 3): every second pixel's place in the next or previous frame
    moved_depth: Tensor  # (objects, M)
    moved_valid: Tensor  # (M,)
    moved_index: Tensor  # (M,): which of the N it is


@dataclass
class Look:
    """The part of a frame that holds a layer."""

    box: tuple[slice, slice]
    """Rows and columns in the frame."""
    colour: np.ndarray  # (h, w, 3) float32 in [0, 1]
    weight: np.ndarray  # (h, w) float32: how far a pixel surely belongs to the layer


MARGIN = 24
"""Pixels around a layer that are looked at with it."""


class FitData:
    """A clip's frames and mask depths as flat files that are sampled without decoding; flow as prepared.

    Memory does not grow with the number of frames: what is read is not kept.
    """

    def __init__(self, clip: Clip, folder: Path) -> None:
        self.clip = clip
        self.colours = StoredArray(folder / "frames.npy")
        self.depths = [StoredArray(folder / f"depth-{i}.npy") for i in range(len(clip.objects))]
        self.flows = {way: (clip.flow(way), clip.flow_validity(way)) for way in ("forward", "backward")}
        self.boxes = [_boxes(depth) for depth in self.depths]

    @staticmethod
    def write(clip: Clip, folder: Path, *, quiet: bool, follow: bool = False) -> None:
        """Decode the clip's frames and masks into `folder`; follow: outlines are moved to the edges of the picture."""
        shape = (clip.frames, clip.height, clip.width)
        depths_in = depth_reader(clip, follow=follow)

        def one(t: int) -> tuple[np.ndarray, list[np.ndarray]]:
            image = clip.frame(t)
            return image, depths_in(t, image)

        files = [(folder / f"depth-{i}.npy", np.int8, shape) for i in range(len(clip.objects))]
        with growing_arrays((folder / "frames.npy", np.uint8, (*shape, 3)), *files) as (frames, *depths), one_thread():
            read = Progress(in_order(one, range(clip.frames)), "read", clip.frames, unit="frame", quiet=quiet, leave=False)
            for image, packed_depths in read:
                frames.append(image)
                for depth, packed in zip(depths, packed_depths, strict=True):
                    depth.append(packed)

    def colour(self, t: int) -> np.ndarray:
        """Frame `t`, (H, W, 3) float32 in [0, 1]."""
        return to_float(self.colours[t])

    def depth(self, t: int) -> np.ndarray:
        """Depth of each object's mask in frame `t`, (objects, H, W) float32 pixels."""
        depths = [unpack_depth(depth[t]) for depth in self.depths]
        return np.stack(depths) if depths else np.zeros((0, self.clip.height, self.clip.width), np.float32)

    def weight(self, layer: int, t: int) -> np.ndarray:
        """How far each pixel of frame `t` surely belongs to a layer, (H, W) float32; nearer layers hide farther ones."""
        if layer < len(self.depths):
            own = object_weight(unpack_depth(self.depths[layer][t]))
            hidden = [object_weight(unpack_depth(depth[t])) for depth in self.depths[:layer]]
            return own * np.prod([1 - weight for weight in hidden], axis=0) if hidden else own
        return background_weight(list(self.depth(t)), (self.clip.height, self.clip.width))

    def look(self, layer: int, t: int) -> Look | None:
        """The part of frame `t` around where a layer surely is; None where it is not seen."""
        weight = self.weight(layer, t)
        box = bounding_box(weight, MARGIN)
        return None if box is None else Look(box, to_float(self.colours[t][box]), weight[box])

    def batch(self, patches: int, size: int, rng: np.random.Generator, device: torch.device) -> Batch:
        """Random patches: half of them anywhere, half around the objects, where the edges are."""
        clip = self.clip
        frame = rng.integers(0, clip.frames, patches)
        left = rng.integers(0, max(clip.width - size, 0) + 1, patches)
        top = rng.integers(0, max(clip.height - size, 0) + 1, patches)
        for i in range(0, patches, 2) if self.boxes else ():
            x0, y0, x1, y1 = self.boxes[(i // 2) % len(self.boxes)][frame[i]]
            left[i] = min(rng.integers(x0, x1 + 1), clip.width - size)
            top[i] = min(rng.integers(y0, y1 + 1), clip.height - size)
        t = np.broadcast_to(frame[:, None, None], (patches, size, size)).reshape(-1)
        y = np.broadcast_to((top[:, None] + np.arange(size))[:, :, None], (patches, size, size)).reshape(-1)
        x = np.broadcast_to((left[:, None] + np.arange(size))[:, None, :], (patches, size, size)).reshape(-1)

        way = np.where(frame == 0, 1, np.where(frame == clip.frames - 1, -1, rng.choice([-1, 1], patches)))
        way = np.repeat(way, size * size)
        chosen = np.flatnonzero((x + y) % 2 == 0)
        moved_x, moved_y, valid = self._moved(t[chosen], y[chosen], x[chosen], way[chosen])
        moved_t = t[chosen] + way[chosen]
        pick = lambda array: torch.from_numpy(np.ascontiguousarray(array)).to(device)  # noqa: E731
        return Batch(
            xyt=pick(self._normalised(x, y, t)),
            colour=pick(self.colours[t, y, x].astype(np.float32).reshape(patches, size, size, 3) / 255),
            depth=pick(np.stack([unpack_depth(depth[t, y, x]) for depth in self.depths])),
            moved=pick(self._normalised(moved_x, moved_y, moved_t)),
            moved_depth=pick(np.stack([_between(depth, moved_t, moved_y, moved_x) for depth in self.depths])),
            moved_valid=pick(valid.astype(np.float32)),
            moved_index=pick(chosen),
        )

    def _moved(self, t: np.ndarray, y: np.ndarray, x: np.ndarray, way: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions of pixels one frame on (way +1) or back (-1), and whether the flow there is valid."""
        forward = way > 0
        index = np.where(forward, t, t - 1)
        flow = np.where(forward[:, None], self.flows["forward"][0][index, y, x], self.flows["backward"][0][index, y, x])
        valid = np.where(forward, self.flows["forward"][1][index, y, x], self.flows["backward"][1][index, y, x])
        flow = self.clip.checked_flow(flow)
        return x + flow[:, 0], y + flow[:, 1], valid

    def _normalised(self, x: np.ndarray, y: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Pixels and frame numbers as (N, 3) float32 coordinates."""
        clip = self.clip
        half = max(clip.height, clip.width) / 2
        columns = [(x + 0.5 - clip.width / 2) / half, (y + 0.5 - clip.height / 2) / half, 2 * t / max(clip.frames - 1, 1) - 1]
        return np.stack(columns, -1).astype(np.float32)


def _boxes(depth: StoredArray) -> np.ndarray:
    """Per frame the box (x0, y0, x1, y1) of an object with 12 px around it; the whole frame where it is absent."""
    frames, height, width = depth.shape
    boxes = np.tile(np.array([0, 0, width - 1, height - 1]), (frames, 1))
    for t in range(frames):
        if box := bounding_box(depth[t] > -12 * STEPS):
            rows, columns = box
            boxes[t] = max(columns.start - 4, 0), max(rows.start - 4, 0), columns.stop - 1, rows.stop - 1
    return boxes


def _between(depth: StoredArray, t: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Depth at fractional positions, bilinearly; float32."""
    height, width = depth.shape[1:]
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    x0, y0 = np.minimum(x.astype(np.int64), width - 2), np.minimum(y.astype(np.int64), height - 2)
    fx, fy = (x - x0).astype(np.float32), (y - y0).astype(np.float32)
    rows = [unpack_depth(depth[t, y0 + dy, x0]) * (1 - fx) + unpack_depth(depth[t, y0 + dy, x0 + 1]) * fx for dy in (0, 1)]
    return rows[0] * (1 - fy) + rows[1] * fy
