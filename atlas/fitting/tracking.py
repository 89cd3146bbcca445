"""Tracking by chained optical flow: where each pixel of a layer lies in the layer's reference view, frame by frame.

A track is a homography per frame plus a coarse grid of offsets. It is the mapping's starting point:
chained from optical flow here, made consistent over the whole clip by `atlas.fitting.registration`.
All coordinates are pixels, with pixel centres at whole numbers as OpenCV has them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from atlas.clip.clip import Clip
from atlas.clip.flow import dense_flow, flow_validity
from atlas.fitting.data import MARGIN
from atlas.geometry.boxes import bounding_box
from atlas.geometry.evidence import even_evidence, flow_evidence, smooth_evidence, texture_without_light
from atlas.geometry.filling import cell_means, smooth_within
from atlas.geometry.homography import apply_homography, fit_affinity, fit_homography, move_pixels, pixel_positions
from atlas.storage.images import to_float
from atlas.system.parallel import in_order, one_thread

STRIDE = 4
"""Pixels between neighbouring nodes of the offset grid: as fine as the last registration round smooths."""
ENOUGH = 0.3
"""Share of an object that flow between neighbouring frames must carry for no other flow to be tried."""
SMOOTH = 4.0
"""Pixels over which flow between frames is smoothed where texture tells of motion, beyond that of an elastic layer."""
CERTAIN = 0.1
"""Pixels by which flow between neighbouring frames may differ from that of a stiff layer and count in full: it adds up."""


@dataclass
class Track:
    """The mapping of one layer: frame pixels -> reference pixels."""

    base: np.ndarray
    """(T, 3, 3) float64 homographies."""
    offset: np.ndarray
    """(T, gh, gw, 2) float32, added after the homography; a grid over the frame, interpolated bilinearly."""
    height: int
    width: int

    @classmethod
    def identity(cls, frames: int, height: int, width: int) -> Track:
        """Every frame on itself."""
        grid = (-(-height // STRIDE), -(-width // STRIDE))
        return cls(np.tile(np.eye(3), (frames, 1, 1)), np.zeros((frames, *grid, 2), np.float32), height, width)

    @property
    def grid_size(self) -> tuple[int, int]:
        """(gh, gw)."""
        return self.offset.shape[1:3]

    def nodes(self) -> np.ndarray:  # (gh, gw, 2)
        """Pixel positions of the grid's nodes: centres of equal cells over the frame."""
        gh, gw = self.grid_size
        x = (np.arange(gw, dtype=np.float32) + 0.5) * (self.width / gw) - 0.5
        y = (np.arange(gh, dtype=np.float32) + 0.5) * (self.height / gh) - 0.5
        return np.stack(np.meshgrid(x, y), -1).astype(np.float32)

    def at(self, frame: int, points: np.ndarray) -> np.ndarray:
        """Reference positions (..., 2) of `points` (..., 2) of a frame."""
        gh, gw = self.grid_size
        column = ((points[..., 0] + 0.5) * (gw / self.width) - 0.5).astype(np.float32)
        row = ((points[..., 1] + 0.5) * (gh / self.height) - 0.5).astype(np.float32)
        offset = cv2.remap(self.offset[frame], column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return apply_homography(self.base[frame], points) + offset

    def dense(self, frame: int, box: tuple[slice, slice]) -> np.ndarray:
        """Reference position of every pixel of a frame inside a box of rows and columns, (h, w, 2) float32."""
        offset = cv2.resize(self.offset[frame], (self.width, self.height), interpolation=cv2.INTER_LINEAR)[box]
        rows, columns = (slice(*side.indices(length)) for side, length in zip(box, (self.height, self.width), strict=True))
        return move_pixels(self.base[frame], (rows, columns)) + offset

    def largest_view(self) -> float:
        """How many pixels of the largest view of the layer one reference pixel spans, along a side; at least 1, at most 2."""
        centre = np.array([self.width / 2, self.height / 2, 1])
        areas = []
        for matrix in self.base:
            # Jacobian determinant of a homography at a point: det(H) / w^3.
            areas.append(abs(np.linalg.det(matrix)) / abs(matrix[2] @ centre) ** 3)
        return float(np.clip(1 / np.sqrt(np.percentile(areas, 10)), 1, 2))


def reference_frame(weights: Callable[[int], np.ndarray], frames: int) -> int:
    """The frame whose view of the layer the atlas takes: near the middle, where the layer is seen large."""
    areas = np.array([float(weights(t).mean()) for t in range(frames)])
    distance = np.abs(np.arange(frames) - (frames - 1) / 2) / frames
    return int(np.argmax(areas / max(areas.max(), 1e-9) - distance))


def chain_background(clip: Clip, weights: Callable[[int], np.ndarray]) -> Track:
    """Homographies between neighbouring frames, chained to the middle frame.

    weights(t): (H, W) float, how far each pixel of frame t belongs to the layer.
    """
    track = Track.identity(clip.frames, clip.height, clip.width)
    pairs = _outwards(clip.frames, clip.frames // 2)

    def step(pair: tuple[int, int]) -> np.ndarray:
        earlier, later = pair
        flow, valid = _flow_between(clip, later, earlier)
        return fit_homography(flow, valid * weights(later))

    with one_thread():
        for (earlier, later), homography in zip(pairs, in_order(step, pairs), strict=True):
            track.base[later] = track.base[earlier] @ homography
            track.base[later] /= track.base[later][2, 2]
    return track


def chain_object(
    clip: Clip,
    weights: Callable[[int], np.ndarray],
    reference: int,
    frames: Callable[[int], np.ndarray] | None = None,
) -> Track:
    """The reference frame's coordinates carried along by flow, smoothed inside the layer.

    A dense start follows a turning object where an affinity cannot; the affinity of each frame is
    what the coordinates continue with outside the layer. An object that was away is followed from where
    it was last seen. weights: as of `chain_background`. frames(t): frame t of the clip, where it is at hand more quickly.
    """
    track = Track.identity(clip.frames, clip.height, clip.width)
    nodes, pairs = track.nodes(), _outwards(clip.frames, reference)
    followed = {reference: reference}  # for each frame the last one, coming from the reference, that shows the object

    def moved(pair: tuple[int, int]) -> tuple[np.ndarray, np.ndarray] | None:
        return _moved(clip, pair, weights, (frames or clip.frame)(pair[1]), track.grid_size)

    with one_thread():
        for (before, later), found in zip(pairs, in_order(moved, pairs), strict=True):
            earlier = followed[before]
            step = found if earlier == before else moved((earlier, later))
            if step is None:  # it stays where it was last seen
                track.base[later], track.offset[later] = track.base[earlier], track.offset[earlier]
                followed[later] = earlier
                continue
            followed[later] = later
            displacements, seen = step
            positions = track.at(earlier, nodes + displacements)
            track.base[later] = fit_affinity(nodes, positions - nodes, seen)
            track.offset[later] = smooth_within(positions - apply_homography(track.base[later], nodes), seen, 0.75)
    return track


def _moved(
    clip: Clip,
    pair: tuple[int, int],
    weights: Callable[[int], np.ndarray],
    image: np.ndarray,  # (H, W, 3) uint8, of the later frame
    grid: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray] | None:  # (gh, gw, 2) pixels, (gh, gw)
    """How an object moves from the later of two frames to the earlier one, and how much of each cell of a grid it fills.

    None where one of them does not show it.
    """
    earlier, later = pair
    here, there = weights(later), weights(earlier)
    flow, trust = _object_flow(clip, later, earlier, here, there)
    if cv2.resize(trust, grid[::-1], interpolation=cv2.INTER_AREA).sum() < 4:
        return None
    known, seen = _evidence(image, here, flow, trust, grid)
    return smooth_evidence(known, seen, SMOOTH / STRIDE, certain=CERTAIN), seen


def _outwards(frames: int, reference: int) -> list[tuple[int, int]]:
    """(known, next) pairs from the reference to both ends."""
    forth = [(t - 1, t) for t in range(reference + 1, frames)]
    return forth + [(t + 1, t) for t in range(reference - 1, -1, -1)]


def _flow_between(clip: Clip, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Flow (H, W, 2) float32 from frame `start` to its neighbour `end`, and its validity (H, W) float32."""
    direction = "forward" if end > start else "backward"
    index = min(start, end)
    return clip.checked_flow(clip.flow(direction)[index]), clip.flow_validity(direction)[index].astype(np.float32)


def _object_flow(clip: Clip, start: int, end: int, here: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flow (H, W, 2) of an object from frame `start` to frame `end`, and where it can be trusted, (H, W) float32 0 or 1.

    here, there: (H, W) the object's weights in these frames. Between neighbours the clip's own flow. Where frames lie
    apart, or a small object moves too fast for it: the weights say how far the object went, flow does the rest.
    """
    candidates = [_flow_between(clip, start, end)] if abs(start - end) == 1 else []
    trusted = [_trusted(flow, valid, here, there) for flow, valid in candidates]
    if not trusted or trusted[0].sum() < ENOUGH * (here > 0.5).sum():
        candidates.append(_flow_across(clip, start, end, here, there))
        trusted.append(_trusted(*candidates[-1], here, there))
    best = max(range(len(candidates)), key=lambda i: trusted[i].sum())
    return candidates[best][0], trusted[best]


def _flow_across(clip: Clip, start: int, end: int, here: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `_flow_between`, of the object alone: measured to frame `end` shifted by what the object's centre moved."""
    if not (here.any() and there.any()):
        return np.zeros((*here.shape, 2), np.float32), np.zeros(here.shape, np.float32)
    positions = pixel_positions(clip.height, clip.width)
    centres = [(positions * weight[..., None]).sum((0, 1)) / weight.sum() for weight in (here, there)]
    shift = np.round(centres[1] - centres[0])
    x, y = np.moveaxis(positions + shift, -1, 0)
    first = clip.frame(start)
    second = cv2.remap(clip.frame(end), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    forth, back = dense_flow(first, second), dense_flow(second, first)
    return forth + shift, flow_validity(forth, back, first, second).astype(np.float32)


def _trusted(flow: np.ndarray, valid: np.ndarray, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Where valid flow leads from the object to the object, (H, W) float32 0 or 1."""
    result, inside = np.zeros(here.shape, np.float32), here > 0.5
    if box := bounding_box(inside):
        x, y = np.moveaxis(pixel_positions(*here.shape)[box] + flow[box], -1, 0)
        result[box] = inside[box] & (cv2.remap(there, x, y, cv2.INTER_LINEAR) > 0.5) & (valid[box] > 0)
    return result


def _evidence(
    frame: np.ndarray,  # (H, W, 3) uint8
    weight: np.ndarray,  # (H, W) of the object in it
    flow: np.ndarray,  # (H, W, 2)
    trust: np.ndarray,  # (H, W)
    grid: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:  # (gh, gw, 6), (gh, gw)
    """Evidence of flow in the cells of a grid, and how much of each the object fills."""
    box = bounding_box(weight > 0, MARGIN)
    assert box is not None
    texture = texture_without_light(to_float(frame[box]), weight[box])
    known = flow_evidence(texture, flow[box], trust[box])
    if not known[0].any() and not known[2].any():  # all black, say: no edge tells where flow is a guess
        known = even_evidence(flow[box], trust[box])
    cells = cell_means([*known, weight[box]], box, weight.shape, grid)
    return cells[..., :6], cells[..., 6]
