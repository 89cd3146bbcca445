"""Mapping accuracy in pixels of the frame: against the clip's optical flow, and against true maps where these are known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from atlas.errors import UserError
from atlas.geometry.warp import bilinear
from atlas.maps.maps import Maps

REACH = 15
"""Frames that two views of a pixel lie apart, at most, for `mapping_accuracy`."""
VISIBLE = 0.5
"""Opacity above which a layer counts as visible in a pixel."""
_NODES = 20_000
_MET = 0.1  # pixels: how near the inverse of the truth must come to count as the place that is looked for
_EXACT = 0.002  # pixels: an inverse this near is not improved further
_DAMPING = 0.03  # of the mapping's usual scale: where it has collapsed, a texel is not worth endlessly many pixels


def flow_disagreement(
    uv: np.ndarray,  # (H, W, 2), of frame t
    following: np.ndarray,  # (H, W, 2), of frame t + 1
    visible: np.ndarray,  # (H, W) bool: where frame t shows the layer
    visible_following: np.ndarray,  # (H, W) bool: the same of frame t + 1
    flow: np.ndarray,  # (H, W, 2) pixels, from t to t + 1
    valid: np.ndarray,  # (H, W): where that flow can be trusted
    step: int = 1,
) -> np.ndarray:  # (n,) float32 pixels
    """Measure how far the mapping and optical flow disagree about where pixels go, each `step`-th of rows and columns.

    Asked of pixels with valid flow that leads from where the layer is visible to where it is visible: the difference between
    uv(p, t) and uv(p + F, t + 1), turned into pixels by the inverse of the mapping's Jacobian at p.
    """
    height, width = visible.shape
    begin = max(1, step // 2)
    rows, columns = np.mgrid[begin : height - 1 : step, begin : width - 1 : step]
    asked = visible[rows, columns] & (valid[rows, columns] > 0)
    rows, columns = rows[asked], columns[asked]
    target = np.stack([columns, rows], -1) + flow[rows, columns].astype(np.float32)
    keep = (target >= 0).all(-1) & (target[:, 0] <= width - 1) & (target[:, 1] <= height - 1)
    nearest = np.round(target[keep]).astype(int)
    keep[keep] = visible_following[nearest[:, 1], nearest[:, 0]]
    rows, columns, target = rows[keep], columns[keep], target[keep]
    difference = uv[rows, columns] - bilinear(following, target)
    across = (uv[rows, columns + 1] - uv[rows, columns - 1]) / 2
    down = (uv[rows + 1, columns] - uv[rows - 1, columns]) / 2
    return np.hypot(*in_pixels(difference, across, down).T).astype(np.float32)


def in_pixels(
    difference: np.ndarray,  # (n, 2) of uv
    across: np.ndarray,  # (n, 2) d uv / dx
    down: np.ndarray,  # (n, 2) d uv / dy
) -> np.ndarray:  # (n, 2) x, y
    """Turn differences in the atlas into steps in the frame by the inverse Jacobian, damped where the mapping has collapsed."""
    if not len(difference):
        return difference
    square = [(across**2).sum(-1), (across * down).sum(-1), (down**2).sum(-1)]
    damping = _DAMPING**2 * float(np.median(square[0] + square[2])) / 2 + 1e-20
    xx, xy, yy = square[0] + damping, square[1], square[2] + damping
    x, y = (across * difference).sum(-1), (down * difference).sum(-1)
    return np.stack([yy * x - xy * y, xx * y - xy * x], -1) / (xx * yy - xy * xy)[:, None]


def texels_per_pixel(uv: np.ndarray, visible: np.ndarray, size: int, step: int = 1) -> float:
    """Measure how many texels a visible pixel spans along a side, the median; NaN where none is. size: the atlas's side."""
    rows, columns = np.nonzero(visible[:-1:step, :-1:step])
    rows, columns = rows * step, columns * step
    here = uv[rows, columns]
    across, down = uv[rows, columns + 1] - here, uv[rows + 1, columns] - here
    area = np.abs(across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0])
    return float(np.sqrt(np.median(area))) * size / 2 if len(area) else math.nan


class Inverse:
    """Inverse of a layer's mapping in one frame: from places in the atlas back to pixels.

    The nearest of the frame's visible pixels is a start that no fold and no wide motion can lead astray; Newton's steps on the
    interpolated mapping find the place between pixels. Where these lead nowhere nearer, the pixel stands.
    """

    def __init__(
        self,
        uv: np.ndarray,  # (H, W, 2)
        visible: np.ndarray,  # (H, W) bool
    ) -> None:
        from scipy.spatial import cKDTree  # only measuring against a truth should pay for its import

        self.uv = uv
        rows, columns = np.nonzero(visible)
        if (step := math.ceil(math.sqrt(len(rows) / _NODES))) > 1:
            keep = (rows % step == 0) & (columns % step == 0)
            rows, columns = rows[keep], columns[keep]
        self._pixels = np.stack([columns, rows], -1).astype(np.float32)
        self._tree = cKDTree(uv[rows, columns]) if len(rows) else None

    def __call__(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the pixel positions (n, 2) whose uv comes nearest to `targets` (n, 2), and by how many pixels they miss, (n,).

        Infinitely many where the frame does not show the layer at all.
        """
        if self._tree is None or not len(targets):
            return np.zeros((len(targets), 2), np.float32), np.full(len(targets), np.inf, np.float32)
        best = self._pixels[self._tree.query(targets)[1]]
        place, step, missed = best.copy(), np.zeros_like(best), np.full(len(best), np.inf, np.float32)
        far = missed.copy()
        limit = np.array([self.uv.shape[1] - 1, self.uv.shape[0] - 1], np.float32)
        active = np.arange(len(best))
        for _ in range(8):
            here = place[active]
            difference = targets[active] - bilinear(self.uv, here)
            distance = np.linalg.norm(difference, axis=-1)
            newton = in_pixels(difference, *self._slopes(here))
            nearer = distance < far[active]
            better = active[nearer]
            best[better], far[better], step[better] = here[nearer], distance[nearer], np.clip(newton[nearer], -3, 3)
            missed[better] = np.linalg.norm(newton[nearer], axis=-1)
            step[active[~nearer]] *= 0.3  # it led away: a shorter one from the same place
            active = active[missed[active] > _EXACT]
            if not len(active):
                break
            place[active] = np.clip(best[active] + step[active], 0, limit)
        return best, missed

    def _slopes(self, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = np.array([0.5, 0], np.float32), np.array([0, 0.5], np.float32)
        height, width = self.uv.shape[:2]
        middle = np.clip(place, 0.5, [width - 1.5, height - 1.5]).astype(np.float32)
        across = bilinear(self.uv, middle + x) - bilinear(self.uv, middle - x)
        return across, bilinear(self.uv, middle + y) - bilinear(self.uv, middle - y)


def find_places(
    maps: Maps,
    layer: str,
    frame: int,
    uv: np.ndarray,  # (n, 2)
) -> np.ndarray:  # (n, 2) pixels, x first
    """Find where a frame shows places of a layer's atlas by the inverse of its mapping: what comes nearest to them in uv.

    Looked for where the layer is visible; in all of the frame where it is not.
    """
    visible = maps.opacity(layer, frame) > VISIBLE
    return Inverse(maps.uv(layer, frame), visible if visible.any() else np.ones_like(visible))(uv)[0]


@dataclass
class Accuracy:
    """A layer's mapping against the truth."""

    median: float
    """Pixels by which a point followed through the atlas misses where it truly goes, the median; NaN where none was asked."""
    p90: float
    """The same at the 90th percentile."""
    opacity_iou: float
    """Intersection over union of where the layer is visible, over all frames together; NaN where it never is."""
    points: int
    """How many (pixel, other frame) were asked."""


class OfAClip(Protocol):
    """What has the frames and layers of a clip: the clip itself, or a fit's maps."""

    folder: Path
    frames: int
    height: int
    width: int

    @property
    def layers(self) -> list[str]:
        """Names of the layers, front to back."""
        ...


def open_truth(folder: Path, of: OfAClip | None = None) -> Maps:
    """Open the true maps in `folder` (as scripts/sample.py leaves them in truth/); UserError where there are none.

    of: the clip or the fit that they are to be compared with; UserError where they are of another one.
    """
    if not (folder / "maps" / "maps.json").is_file():
        raise UserError(f"{folder} holds no true maps: give the truth/ folder of a sample clip")
    truth = Maps(folder)
    if of is None:
        return truth
    for name in ("frames", "width", "height", "layers"):
        true, expected = getattr(truth, name), getattr(of, name)
        if true != expected:
            raise UserError(f"{folder} has {name} {true}, not {expected} as {of.folder}: give the truth of the same clip")
    return truth


def mapping_accuracy(maps: Maps, truth: Maps, *, seed: int = 0, pixels: int = 200, reach: int = REACH) -> dict[str, Accuracy]:
    """Follow visible pixels of each frame to every other frame up to `reach` away, through the truth and through the fit.

    pixels: how many of each frame's visible pixels are drawn. What the other frame truly does not show is not asked; what
    the fit does not show in that frame at all counts as missed by the frame's diagonal. Memory: two frames of maps.
    """
    rng = np.random.default_rng(seed)
    return {layer: _layer_accuracy(maps, truth, layer, rng, pixels, reach) for layer in truth.layers}


def _layer_accuracy(maps: Maps, truth: Maps, layer: str, rng: np.random.Generator, pixels: int, reach: int) -> Accuracy:
    true_uv, fitted_uv, both, either = [], [], 0, 0
    for i in range(truth.frames):
        visible, fitted = truth.opacity(layer, i) > VISIBLE, maps.opacity(layer, i) > VISIBLE
        both, either = both + int((visible & fitted).sum()), either + int((visible | fitted).sum())
        chosen = np.flatnonzero(visible)
        chosen = rng.choice(chosen, min(pixels, len(chosen)), replace=False)
        true_uv.append(truth.uv(layer, i).reshape(-1, 2)[chosen])
        fitted_uv.append(maps.uv(layer, i).reshape(-1, 2)[chosen])
    errors = []
    for j in range(truth.frames):
        others = [i for i in range(max(0, j - reach), min(truth.frames, j + reach + 1)) if i != j]
        if not others:
            continue
        opacity = truth.opacity(layer, j)
        place, missed = Inverse(truth.uv(layer, j), opacity > VISIBLE)(np.concatenate([true_uv[i] for i in others]))
        shown = (missed < _MET) & (bilinear(opacity, place) > VISIBLE)
        wanted = np.concatenate([fitted_uv[i] for i in others])[shown]
        fitted_place, fitted_missed = Inverse(maps.uv(layer, j), maps.opacity(layer, j) > VISIBLE)(wanted)
        error = np.linalg.norm(fitted_place - place[shown], axis=-1)
        errors.append(np.where(np.isfinite(fitted_missed), error, math.hypot(truth.width, truth.height)))
    distances = np.concatenate(errors) if errors else np.zeros(0)
    median, p90 = np.percentile(distances, (50, 90)) if len(distances) else (math.nan, math.nan)
    return Accuracy(float(median), float(p90), both / either if either else math.nan, len(distances))
