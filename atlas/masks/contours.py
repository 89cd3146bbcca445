"""Contour refinement: a mask's outline is moved to the edges of the picture, all of a clip's by the margin they share.

Each outline is looked at along its normals. How far off the masks are as a whole (a rotoscoper's margin, an eroded
segmentation) shows as a ridge in the mean edge strength of all outlines of the clip; around it each outline takes
the path along the strongest edges, found by dynamic programming. The sharper the ridge, the better the masks agree
with the picture, and the less a single outline may leave it: good masks stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from atlas.geometry.filling import nearest_seen

SEARCH, SEARCH_PIXELS = 0.02, (6, 10)
"""How far to both sides of an outline edges are searched: in longer sides of the frame, and the bounds of that in pixels."""
SOFT = 4.0
"""Pixels of soft edge across an outline from which on a mask is a matte, whose edge is meant as it is."""
_SHORTEST = 20  # pixels of outline below which there is nothing to follow
_SETTLED = 1.5  # pixels of margin below which masks are drawn where the edges are
_TOLERANCE = ((0.12, 0.2), (1.5, 4.0))  # sharpness of rough and of good masks; pixels of blur that are left to them
_NOISE = 1.5  # edge strength (grey levels per pixel) that says nothing
_BEND = 0.5  # what it costs an outline to step one pixel in or out between neighbours


@dataclass(frozen=True)
class Margin:
    """How far inside (positive) or outside the given outlines the picture's edges lie, and how clearly: of a whole clip."""

    offset: float = 0.0
    """Pixels."""
    sharpness: float = 0.0
    """Height of the ridge over its surroundings, in logarithms of edge strength; 0: the outlines follow no edge."""


@dataclass
class _Outline:
    """A closed outline of a mask and what lies across it."""

    points: np.ndarray  # (S, 2) int pixels, the outermost inside the mask
    strength: np.ndarray  # (S, D) logarithm of the edge strength at each of `_offsets` along the normal, inwards
    free: np.ndarray  # (S,) bool: away from the frame's border, where no edge can be seen


def clip_margin(frames: Iterable[tuple[np.ndarray, np.ndarray]]) -> Margin:
    """The margin of a clip's masks. frames: (image (H, W, 3) uint8, depth (H, W) as `depth_of`), a sample of them."""
    strengths = [outline.strength[outline.free] for image, depth in frames for outline in _outlines(image, depth)]
    count = sum(map(len, strengths))
    if count < _SHORTEST:
        return Margin()
    mean = np.sum([strength.sum(0, dtype=np.float64) for strength in strengths], axis=0) / count
    reach = len(mean) // 2
    # A ridge rises over what lies 3 px to both sides; an object that is rich in edges all through has none inside.
    padded = np.pad(mean, 3, constant_values=mean.max())
    ridge = mean - np.maximum(padded[:-6], padded[6:])
    best = int(ridge.argmax())
    if ridge[best] < 0.12:
        return Margin()
    around = mean[best - 1 : best + 2]  # ridges at the ends of the search are ruled out by the padding
    bend = around[0] - 2 * around[1] + around[2]
    peak = best + float(np.clip((around[0] - around[2]) / (2 * bend), -0.5, 0.5) if bend < 0 else 0)
    return Margin(peak - reach + 0.5, float(ridge[best]))  # points are half a pixel inside the outline


def follow_edges(
    image: np.ndarray,  # (H, W, 3) uint8
    depth: np.ndarray,  # (H, W) float32 signed distance into the mask, pixels
    margin: Margin,
) -> np.ndarray:  # (H, W) float32
    """The depth of a mask whose outline was moved to the edges of the picture within reach of the search."""
    outlines = [outline for outline in _outlines(image, depth) if outline.free.any()]
    if not outlines:
        return depth
    settled = abs(margin.offset) < _SETTLED
    centre = 0.0 if settled else margin.offset
    offsets = _offsets(depth.shape)
    stiffness = 0.02 + 0.04 * min(margin.sharpness, 0.5)
    moves = []
    for outline in outlines:
        reward = outline.strength - stiffness * (offsets + 0.5 - centre) ** 2
        reward[~outline.free] = -0.2 * np.abs(offsets + 0.5 - centre)
        reward[:, offsets > depth.max() / 2] = -1e3  # further in lies the other side of a thin object
        move = _smooth_round(offsets[_best_path(reward)] + 0.5)
        if settled:
            move = np.sign(move) * np.maximum(np.abs(move) - np.interp(margin.sharpness, *_TOLERANCE), 0)
        moves.append(move)
    if not any(move.any() for move in moves):
        return depth
    return depth - _spread(np.concatenate([outline.points for outline in outlines]), np.concatenate(moves), depth.shape)


def is_matte(mask: np.ndarray) -> bool:
    """Whether the soft edges of a mask (H, W) uint8 are too wide to be the blur of an outline."""
    soft = np.count_nonzero((mask > 12) & (mask < 243))
    outlines, _ = cv2.findContours((mask > 127).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return bool(soft > SOFT * max(sum(map(len, outlines)), 1))


def _reach(shape: tuple[int, ...]) -> int:
    return int(np.clip(round(SEARCH * max(shape)), *SEARCH_PIXELS))


def _offsets(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(-_reach(shape), _reach(shape) + 1, dtype=np.float32)


def _outlines(image: np.ndarray, depth: np.ndarray) -> list[_Outline]:
    contours, _ = cv2.findContours((depth > 0).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    contours = [points[:, 0] for points in contours if len(points) >= _SHORTEST]
    if not contours:
        return []
    height, width = depth.shape
    offsets, reach = _offsets(depth.shape), _reach(depth.shape)
    everywhere = np.concatenate(contours)
    low = np.maximum(everywhere.min(0) - reach - 8, 0)
    high = everywhere.max(0) + reach + 9
    window = (slice(low[1], high[1]), slice(low[0], high[0]))
    slopes = [_slope(cv2.GaussianBlur(image[window].astype(np.float32), (0, 0), 1.0), axis) for axis in (0, 1)]
    inwards = np.stack([_slope(cv2.GaussianBlur(depth[window], (0, 0), 2.0), axis) for axis in (0, 1)], -1)
    inwards /= np.linalg.norm(inwards, axis=-1, keepdims=True) + 1e-6
    outlines = []
    for points in contours:
        local = points - low
        normal = inwards[local[:, 1], local[:, 0]]
        where = (local[:, None] + normal[:, None] * offsets[None, :, None]).astype(np.float32)
        across = sum(_at(slope, where) * normal[:, None, None, axis] for axis, slope in enumerate(slopes))
        strength = np.log(np.linalg.norm(across, axis=-1) + _NOISE)
        free = ((points >= 2) & (points < np.array([width, height]) - 2)).all(1)
        outlines.append(_Outline(points, strength.astype(np.float32), free))
    return outlines


def _slope(image: np.ndarray, axis: int) -> np.ndarray:
    """Change of an image per pixel in x (axis 0) or y (axis 1)."""
    return cv2.Sobel(image, cv2.CV_32F, 1 - axis, axis, scale=1 / 8)


def _at(image: np.ndarray, where: np.ndarray) -> np.ndarray:
    return cv2.remap(image, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _best_path(reward: np.ndarray) -> np.ndarray:  # (S, D) -> (S,)
    """Index at each point of a closed outline so that rewards less the cost of steps (at most 1 a point) are greatest."""
    overlap = min(len(reward), 3 * reward.shape[1])  # the outline is closed: gone round far enough, its ends agree
    around = np.concatenate([reward[-overlap:], reward, reward[:overlap]])
    scores = np.full((len(around), reward.shape[1] + 2), -np.inf, np.float32)  # between two places that cannot be reached
    scores[0, 1:-1] = around[0]
    for before, after, own in zip(scores, scores[1:, 1:-1], around[1:], strict=False):
        np.maximum(before[:-2], before[2:], out=after)
        after -= _BEND
        np.maximum(after, before[1:-1], out=after)
        after += own
    choices = np.stack([scores[:-1, :-2] - _BEND, scores[:-1, 1:-1], scores[:-1, 2:] - _BEND])
    steps = (choices.argmax(0) - 1).tolist()
    path = [int(scores[-1, 1:-1].argmax())]
    for step in reversed(steps):
        path.append(path[-1] + step[path[-1]])
    return np.array(path[::-1])[overlap : overlap + len(reward)]


def _smooth_round(values: np.ndarray) -> np.ndarray:
    """A closed series of numbers, blurred over 2 points."""
    padded = np.pad(values.astype(np.float32), 8, mode="wrap")
    return cv2.GaussianBlur(padded[None], (0, 0), 2.0)[0, 8:-8]


def _spread(points: np.ndarray, moves: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The moves of an outline's points, (H, W) float32: everywhere that of the nearest point, blurred a little."""
    outline, move = np.zeros(shape, bool), np.zeros(shape, np.float32)
    rows, columns = points[:, 1], points[:, 0]
    outline[rows, columns], move[rows, columns] = True, moves
    return cv2.GaussianBlur(move.reshape(-1)[nearest_seen(outline)[1]], (0, 0), 1.5)
