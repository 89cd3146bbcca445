"""Evidence of motion: optical flow weighed by what it can know, and smoothed inside a layer to a motion of the layer.

Smoothing has two parts: an elastic sheet over the whole layer, which knows what flow on bare surfaces cannot and does not
follow light, and what is left over near by, where texture tells.
"""

from __future__ import annotations

import cv2
import numpy as np

from atlas.geometry.boxes import bounding_box
from atlas.geometry.elastic import fit_sheet, without
from atlas.geometry.filling import solve_tensors, wide_blur

_SOFT = 1.0  # squared contrast a pixel, of textures without light, below which an edge counts the less
_STIFFNESS = 1.0  # of the sheet against evidence, at most 1 in a cell
_AGAINST = 0.02  # weight of the sheet against what is left over near by
# Evidence in the direction that is known least from which texture may go a way of its own (a leg, a wheel). A shadow's edge or
# a highlight on a bare surface has less than 0.12, fine texture 0.3 to 0.4.
_RICH = 0.3
_AROUND = 3.0  # nodes, over which texture is rich or not
_MARGIN = 4  # nodes round about a layer that move with it


def texture_without_light(
    image: np.ndarray,  # (H, W, 3) in [0, 1]
    weight: np.ndarray,  # (H, W)
) -> np.ndarray:  # (H, W) float32, mostly within [-2, 2]
    """Brightness against its surroundings inside the layer, in local deviations: what light leaves as it is."""
    grey = cv2.cvtColor(image.astype(np.float32, copy=False), cv2.COLOR_RGB2GRAY)
    planes = (grey * weight, grey * grey * weight, weight)  # one by one: interleaving them takes longer than to blur them
    mean, square, support = (cv2.blur(cv2.blur(plane, (25, 25)), (25, 25)) for plane in planes)
    support = np.maximum(support, 1e-3)
    mean /= support
    square /= support
    square -= mean * mean  # in place, step by step: making arrays anew takes as long as computing them
    deviation = np.sqrt(np.maximum(square, 0, out=square), out=square)
    deviation += 0.02
    grey -= mean
    grey /= deviation
    grey *= weight > 0
    return grey


def flow_evidence(
    texture: np.ndarray,  # (h, w) float32, without light
    flow: np.ndarray,  # (h, w, 2) float32
    trust: np.ndarray,  # (h, w) float32 or bool
    along: float = 0.0,
) -> list[np.ndarray]:  # six planes (h, w) float32
    """Weigh flow f by the structure tensor T of a texture: T (xx, xy, yy), T f (x, y) and f' T f.

    T's trace is at most 1 + 2 * along. along: what an edge counts along itself too, of its strength: flow there is a guess, but
    not from afar.
    """
    across, down = cv2.Sobel(texture, cv2.CV_32F, 1, 0), cv2.Sobel(texture, cv2.CV_32F, 0, 1)
    xx, xy, yy = (cv2.blur(product, (9, 9)) for product in (across * across, across * down, down * down))
    detail = xx + yy
    trusted = trust / (detail + _SOFT)
    if along:
        detail *= along
        xx += detail
        yy += detail
    for plane in (xx, xy, yy):
        plane *= trusted
    x, y = cv2.split(flow)
    fx, fy = xx * x + xy * y, xy * x + yy * y
    return [xx, xy, yy, fx, fy, fx * x + fy * y]


def even_evidence(
    flow: np.ndarray,  # (h, w, 2) float32
    trust: np.ndarray,  # (h, w) float32
) -> list[np.ndarray]:  # six planes (h, w) float32
    """Weigh flow by trust alone, in all directions alike: for surfaces without any texture. Planes as of `flow_evidence`."""
    x, y = flow[..., 0], flow[..., 1]
    return [trust, np.zeros_like(trust), trust, trust * x, trust * y, trust * (x * x + y * y)]


def smooth_evidence(
    known: np.ndarray,  # (gh, gw, 6) float32: means of `flow_evidence` over cells
    present: np.ndarray,  # (gh, gw) float32: how much of each cell the layer fills
    sigma: float,
    *,
    certain: float,
) -> np.ndarray:  # (gh, gw, 2) float32
    """Find the displacements of a layer that explain evidence of flow, as fine as `sigma` cells where texture tells.

    certain: pixels by which flow may differ from a stiff layer's and count in full.
    """
    box = bounding_box(present > 0, _MARGIN)
    if box is None or not known.any():
        return np.zeros((*present.shape, 2), np.float32)
    known, (rows, columns) = known[box], box
    sheet, weight = fit_sheet(known, present[box], stiffness=_STIFFNESS, certain=certain)
    weight = np.maximum(weight, np.clip(_least_known(wide_blur(known[..., :3], _AROUND)) / _RICH - 0.5, 0, 1))
    moved = sheet + _near(known[..., :5] * weight[..., None], sheet, sigma)
    outside = rows.start, present.shape[0] - rows.stop, columns.start, present.shape[1] - columns.stop
    return cv2.copyMakeBorder(moved, *outside, cv2.BORDER_REPLICATE)


def _least_known(tensor: np.ndarray) -> np.ndarray:  # (h, w, 3) -> (h, w)
    """The lesser eigenvalue: what is known in the direction that is known least."""
    xx, xy, yy = np.moveaxis(tensor, -1, 0)
    return (xx + yy) / 2 - np.hypot((xx - yy) / 2, xy)


def _near(known: np.ndarray, sheet: np.ndarray, sigma: float) -> np.ndarray:  # (h, w, 5), (h, w, 2) -> (h, w, 2)
    """What evidence within `sigma` cells says beyond the sheet: nothing where it is little."""
    rest = np.moveaxis(without(np.moveaxis(known, -1, 0), np.moveaxis(sheet, -1, 0)), 0, -1)
    xx, xy, yy, x, y = np.moveaxis(wide_blur(rest, sigma).astype(np.float64), -1, 0)
    return solve_tensors(xx + _AGAINST, xy, yy + _AGAINST, x, y).astype(np.float32)
