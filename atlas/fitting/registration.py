"""Registration by optical flow: from a chained track to one that agrees with a single atlas in every frame.

Rounds of: average all frames into an atlas through the track; render it into each frame; optical flow
from the frame to that rendering; smooth the flow inside the layer, coarse to fine; add it to the track.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from atlas.clip.flow import dense_flow
from atlas.fitting.data import Look
from atlas.fitting.halves import halved_looks, halved_track, with_offsets_of
from atlas.fitting.tracking import STRIDE, Track
from atlas.geometry.boxes import Box
from atlas.geometry.evidence import flow_evidence, smooth_evidence, texture_without_light
from atlas.geometry.filling import cell_means, smooth_across_edges, wide_blur
from atlas.geometry.homography import apply_homography
from atlas.geometry.warp import splat_planes
from atlas.model.layered import LayeredAtlas
from atlas.system.parallel import in_order, one_thread


@dataclass(frozen=True)
class Canvas:
    """The rectangle of reference pixels that a layer's atlas image covers."""

    left: float
    top: float
    width: int
    height: int

    def texels(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Column and row on the canvas, float32, of reference positions (..., 2)."""
        column, row = positions[..., 0] - self.left, positions[..., 1] - self.top
        return column.astype(np.float32, copy=False), row.astype(np.float32, copy=False)


@dataclass(frozen=True)
class View:
    """What a round sees of a layer in a frame."""

    box: tuple[slice, slice]
    """Rows and columns in the frame."""
    texture: np.ndarray  # (h, w) float32, without light
    weight: np.ndarray  # (h, w) float32, as of `Look`

    @classmethod
    def of(cls, look: Look) -> View:
        """Take the light off a look."""
        return cls(look.box, texture_without_light(look.colour, look.weight), look.weight)


FINE = 640
"""Longer side in pixels to which a small layer is enlarged for flow."""
COARSE = 12.0
"""Pixels of smoothing from which a round works on frames of half the size, at a quarter of the cost."""
LARGE = 128
"""Pixels along a frame's shorter side from which half of it still shows enough."""
_KEPT = 200_000_000  # bytes of views that a round keeps, and need not make again
_ANYHOW = 0.1  # of an edge's weight that counts along it too, where no sheet does: flow there is a guess, but not from afar
CERTAIN = 0.3
"""Pixels by which a correction may differ from that of a stiff layer and count in full; in coarse rounds sigma / 8."""
LIMIT = 4096
"""Longest side of a canvas in reference pixels: what strays further is cut off."""


def canvas_of(track: Track, looks: Callable[[int], Look | View | None]) -> Canvas:
    """The canvas that holds what the layer's visible pixels map to."""
    nodes = track.nodes()

    def positions(t: int) -> np.ndarray:
        look = looks(t)
        if look is None:
            return np.zeros((0, 2), np.float32)
        column, row = (np.clip(np.round(nodes[..., i]).astype(int) - look.box[1 - i].start, -1, None) for i in (0, 1))
        inside = (column >= 0) & (row >= 0) & (column < look.weight.shape[1]) & (row < look.weight.shape[0])
        inside[inside] = look.weight[row[inside], column[inside]] > 0.25
        return track.at(t, nodes)[inside]

    points = np.concatenate(list(in_order(positions, range(len(track.base)))))
    if not len(points):
        return Canvas(0, 0, 8, 8)
    low, high = points.min(0) - 6, points.max(0) + 7
    centre = np.where(high - low < LIMIT, (low + high) / 2, np.median(points, 0))
    span = np.ceil(np.minimum(high - low, LIMIT)).astype(int)
    return Canvas(float(centre[0] - span[0] / 2), float(centre[1] - span[1] / 2), int(span[0]), int(span[1]))


def average(track: Track, views: Callable[[int], View | None], canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean of all frames' textures without light, splatted through the track: (h, w), and total weight (h, w)."""

    def part(t: int) -> tuple[Box, np.ndarray] | None:
        view = views(t)
        return None if view is None else splat_to_canvas(view.texture, track.dense(t, view.box), view.weight, canvas)

    total = np.zeros((2, canvas.height, canvas.width), np.float32)
    for more in in_order(part, range(len(track.base))):  # in the order of the frames: the sum is the same to the bit
        if more is not None:
            (rows, columns), sums = more
            total[:, rows, columns] += sums
    return total[0] / np.maximum(total[1], 1e-6), total[1]


def splat_to_canvas(
    texture: np.ndarray,  # (h, w) float32
    positions: np.ndarray,  # (h, w, 2) float32, of the reference view
    weight: np.ndarray,  # (h, w) float32
    canvas: Canvas,
) -> tuple[Box, np.ndarray]:  # rows and columns of the canvas, and (2, h', w') for them
    """Splat a texture bilinearly: the weighted sum and the sum of weights, of the part of the canvas that is reached."""
    uv = np.empty((*weight.shape, 2), np.float32)
    for axis, (place, side) in enumerate(zip(canvas.texels(positions), (canvas.width, canvas.height), strict=True)):
        place += np.float32(0.5)  # plane by plane: two numbers at a time take several times as long
        place *= np.float32(2) / np.float32(side)
        place -= 1
        uv[..., axis] = place
    values, places, weights = (torch.from_numpy(array) for array in (texture[None], uv, weight))
    box, planes = splat_planes(values, places, weights, (canvas.height, canvas.width))
    return box, planes.numpy()


def register_round(track: Track, looks: Callable[[int], Look | None], sigma: float, *, elastic: bool) -> Track:
    """Register all frames of a layer once: the track after one round of correction, smoothed over `sigma` pixels.

    looks(t): the part of frame t that holds the layer, None where it is not seen. elastic: the layer is one thing that holds
    together, as objects do. A background is not: water and what stands at several distances go where flow takes them.
    """
    if sigma >= COARSE and min(track.height, track.width) >= LARGE:
        half = halved_track(track)
        looks = halved_looks(looks, (track.height, track.width))
        return with_offsets_of(track, _registered(half, looks, sigma, FINE / 2, elastic))
    return _registered(track, looks, sigma, FINE, elastic)


def _registered(track: Track, looks: Callable[[int], Look | None], sigma: float, fine: float, elastic: bool) -> Track:
    views = _views_of(looks)
    with one_thread():
        canvas = canvas_of(track, views)
        atlas, seen = average(track, views, canvas)
        numbers = range(len(track.base))
        offsets = in_order(lambda t: _corrected(track, t, views(t), atlas, seen, canvas, sigma, fine, elastic), numbers)
        return replace(track, offset=np.stack(list(offsets)))


def _views_of(looks: Callable[[int], Look | None]) -> Callable[[int], View | None]:
    """Make views of looks; those that fit into memory are made once."""
    kept: dict[int, View | None] = {}

    def view(t: int) -> View | None:
        if t in kept:
            return kept[t]
        look = looks(t)
        made = None if look is None else View.of(look)
        if sum(other.texture.nbytes + other.weight.nbytes for other in list(kept.values()) if other) < _KEPT:
            kept[t] = made
        return made

    return view


def _corrected(
    track: Track,
    t: int,
    view: View | None,
    atlas: np.ndarray,
    seen: np.ndarray,
    canvas: Canvas,
    sigma: float,
    fine: float,
    elastic: bool,
) -> np.ndarray:
    """The offsets of frame `t` after one round."""
    if view is None:
        return track.offset[t]
    column, row = canvas.texels(track.dense(t, view.box))
    elsewhere = cv2.remap(seen, column, row, cv2.INTER_LINEAR) > 1.5  # by another frame than this one
    trust = (view.weight > 0.5) & elsewhere
    if not trust.any():
        return track.offset[t]
    rendered = cv2.remap(atlas, column, row, cv2.INTER_LINEAR)
    own = np.where(trust, view.texture, rendered)
    flow = _fine_flow(own, rendered, fine)
    known = flow_evidence(rendered, flow, trust, along=0 if elastic else _ANYHOW)
    planes = [*known, view.weight] if elastic else known[:5]
    cells = cell_means(planes, view.box, (track.height, track.width), track.grid_size)
    if elastic:
        moved = smooth_evidence(cells[..., :6], cells[..., 6], sigma / STRIDE, certain=max(CERTAIN, sigma / 8))
    else:
        moved = smooth_across_edges(cells, sigma / STRIDE, floor=1e-2)
    nodes = track.nodes()
    return unfold(track.at(t, nodes + moved), nodes) - apply_homography(track.base[t], nodes)


def unfold(positions: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Positions (gh, gw, 2) of the grid's nodes, smoothed where the mapping folds or nearly does, and there only.

    A fold is where the Jacobian's determinant turns; nearly: where it falls below a tenth of its usual size.
    """
    area = np.prod(nodes[1, 1] - nodes[0, 0])
    for _ in range(12):
        in_x, in_y = np.diff(positions, axis=1)[:-1], np.diff(positions, axis=0)[:, :-1]
        stretch = (in_x[..., 0] * in_y[..., 1] - in_x[..., 1] * in_y[..., 0]) / area
        usual = np.median(stretch)
        bad = (stretch * np.sign(usual) < 0.1 * abs(usual)).astype(np.float32)
        if not bad.any():
            break
        reach = cv2.dilate(np.pad(bad, ((0, 1), (0, 1))), np.ones((5, 5), np.uint8))
        share = np.minimum(wide_blur(reach[..., None], 1.0) * 1.5, 1)
        displacement = positions - nodes
        positions = positions + share * (wide_blur(displacement, 1.5) - displacement)
    return positions


def start_from_track(model: LayeredAtlas, layer: int, track: Track, canvas: Canvas) -> None:
    """Make a registered track a layer's mapping in the model: the canvas, centred, becomes the square [-1, 1]^2."""
    height, width = model.shape.height, model.shape.width
    longer = max(height, width)
    side = max(canvas.width, canvas.height)
    # normalised xy -> pixels -> reference pixels -> uv
    to_pixels = torch.tensor(
        [[longer / 2, 0, width / 2 - 0.5], [0, longer / 2, height / 2 - 0.5], [0, 0, 1]], dtype=torch.float64
    )
    centre = (canvas.left + (canvas.width - 1) / 2, canvas.top + (canvas.height - 1) / 2)
    to_uv = torch.tensor(
        [[2 / side, 0, -centre[0] * 2 / side], [0, 2 / side, -centre[1] * 2 / side], [0, 0, 1]], dtype=torch.float64
    )
    mapping = model.mappings[layer]
    with torch.no_grad():
        mapping.base.copy_(to_uv @ torch.from_numpy(track.base) @ to_pixels)
        mapping.offset.copy_(torch.from_numpy(track.offset).permute(3, 0, 1, 2) * (2 / side))


def _fine_flow(own: np.ndarray, rendered: np.ndarray, fine: float) -> np.ndarray:
    """Flow between two textures without light; small ones are enlarged to `fine`, since DIS stops at half its input's size."""
    scale = float(np.clip(fine / max(own.shape), 1, 3))
    pictures = []
    for picture in (own, rendered):
        scaled = picture * 50
        scaled += 128
        grey = np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)
        pictures.append(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR) if scale > 1 else grey)
    flow = dense_flow(*pictures)
    if scale == 1:
        return flow
    return cv2.resize(flow, own.shape[::-1], interpolation=cv2.INTER_AREA) / scale
