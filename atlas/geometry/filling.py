"""Outward filling (extrapolation, inpainting without content): colours and offsets continued to where nothing is known.

Which to choose:
  push_pull       a tensor on any device, with a weight for each texel; known values stay. Partial and merged atlases.
  fill_unseen     the same with OpenCV, for a splatted atlas on the CPU: what was seen by less than a whole pixel is blended.
  smooth_within   not a fill but a regression: known values are smoothed too, and fade to zero without support. Offsets.
  continued       a cut-out photograph: nothing of the colours outside may stay, and what is far off becomes their mean.
  nearest_seen    no blend at all: which seen pixel is nearest, and how far. An edit's rim, the moves of an outline.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:  # the edit command's options lead here, and its --help does without torch
    from torch import Tensor

_ROUNDING = 1e-6


def smooth_within(
    values: np.ndarray,  # (h, w, C) float32
    weights: np.ndarray,  # (h, w) float32 >= 0
    sigma: float,
    *,
    floor: float = 1e-6,
) -> np.ndarray:  # (h, w, C)
    """Smooth `values` by a Gaussian mean where they have weight, continued outwards from ever wider neighbourhoods.

    floor: weight of an unseen value of zero; what has little support shrinks towards it.
    """
    total, share = _smoothed(np.concatenate([values * weights[..., None], weights[..., None]], -1), sigma)
    # The widest blur reaches everything: it only has to outweigh rounding where nothing nearer has support.
    return total[..., :-1] / (total[..., -1:] + floor * share)


def smooth_across_edges(
    known: np.ndarray,  # (h, w, 5) float32: structure tensors (xx, xy, yy), and their products with a vector (x, y)
    sigma: float,
    *,
    floor: float = 1e-6,
) -> np.ndarray:  # (h, w, 2)
    """Smooth vectors as `smooth_within` does, each weighted by a structure tensor: an edge counts across itself only.

    Tensors and products are smoothed each for itself, then solved for the vector that fits them best (as Lucas and Kanade do
    in a window): what runs along an edge comes from corners and from edges in other directions round about.
    """
    total, share = _smoothed(known, sigma)
    xx, xy, yy, x, y = np.moveaxis(total.astype(np.float64), -1, 0)
    # More than what rounding leaves of the determinant of an edge, which alone knows nothing of what runs along it.
    ridge = floor * share + _ROUNDING * (xx + yy) + 1e-30
    return solve_tensors(xx + ridge, xy, yy + ridge, x, y).astype(np.float32)


def solve_tensors(xx: np.ndarray, xy: np.ndarray, yy: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Solve T m = f for the vectors m, (h, w, 2), of structure tensors in planes (h, w), none of them of determinant 0."""
    return np.stack([yy * x - xy * y, xx * y - xy * x], -1) / (xx * yy - xy * xy)[..., None]


def _smoothed(images: np.ndarray, sigma: float) -> tuple[np.ndarray, float]:  # (h, w, C) -> the same
    """Sum blurs over ever wider neighbourhoods, each counting 50 times less; returns the widest one's share as well."""
    total = np.zeros_like(images)
    share = 1.0
    reach = max(images.shape[:2])
    while True:
        total += share * wide_blur(images, sigma)
        if sigma > reach / 2:
            return total, share
        sigma, share = sigma * 2.5, share * 0.02


def wide_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur (h, w, C) with a Gaussian, the border repeated; a wide one is made on a smaller image."""
    step = max(1, int(sigma / 3))
    if step == 1:
        return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE).reshape(image.shape)
    height, width = image.shape[:2]
    small = shrink(image, (max(1, height // step), max(1, width // step)))
    small = cv2.GaussianBlur(small, (0, 0), sigma / step, borderType=cv2.BORDER_REPLICATE)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR).reshape(image.shape)


def shrink(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Average (H, W, C) over the cells of a coarser (h, w) grid; OpenCV takes four channels at a time."""
    parts = [image[..., i : i + 4] for i in range(0, image.shape[2], 4)]
    return np.dstack([cv2.resize(part, size[::-1], interpolation=cv2.INTER_AREA) for part in parts])


def cell_means(
    planes: Iterable[np.ndarray],  # (h, w) float32 each, of a box of a frame; beside the box they are 0
    box: tuple[slice, slice],
    frame: tuple[int, int],  # (H, W)
    size: tuple[int, int],  # (gh, gw)
) -> np.ndarray:  # (gh, gw, planes)
    """Average planes over the cells of a coarse grid that spans the whole frame."""
    whole, cells = np.zeros(frame, np.float32), []
    for plane in planes:  # one channel at a time: several at once take OpenCV five times as long
        whole[box] = plane
        cells.append(cv2.resize(whole, size[::-1], interpolation=cv2.INTER_AREA))
    return np.stack(cells, -1)


def fill_unseen(atlas: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Fill unseen texels of a splatted atlas with the colours around them, from ever coarser versions of it (an image pyramid).

    atlas: (N, N, 3); seen: (N, N) weights. Texels with a weight of one pixel or more stay as they are.
    """
    levels = [np.dstack([atlas * np.minimum(seen, 1)[..., None], np.minimum(seen, 1)]).astype(np.float32)]
    while min(levels[-1].shape[:2]) > 2:
        height, width = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA))
    coarse = levels[-1][..., :3] / np.maximum(levels[-1][..., 3:], 1e-6)
    for level in reversed(levels[:-1]):
        coarse = cv2.resize(coarse, level.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        coarse = level[..., :3] + coarse * (1 - level[..., 3:])
    return coarse


def push_pull(
    values: Tensor,  # (H, W, C)
    weight: Tensor,  # (H, W), 1 or more where the value is known, 0 where it is not
) -> Tensor:  # (H, W, C)
    """Fill unknown values by pull-push (Gortler et al. 1996), from those known around them; known values stay."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    known = weight.clamp(0, 1)[None, None]
    levels = [(values.permute(2, 0, 1)[None].contiguous(), known)]  # whole planes: three times as fast on a CPU
    while max(levels[-1][0].shape[2:]) > 1:
        colour, share = levels[-1]
        colour = colour * share
        if any(pad := (0, share.shape[3] % 2, 0, share.shape[2] % 2)):
            colour, share = F.pad(colour, pad), F.pad(share, pad)
        total, count = F.avg_pool2d(colour, 2).mul_(4), F.avg_pool2d(share, 2).mul_(4)
        levels.append((total.div_(count.clamp(min=1e-8)), count.clamp_(max=1)))
    filled = levels.pop()[0]
    for colour, share in reversed(levels):
        coarse = F.interpolate(filled, scale_factor=2, mode="bilinear", align_corners=False)
        filled = torch.lerp(coarse[..., : colour.shape[2], : colour.shape[3]], colour, share)
    return filled[0].permute(1, 2, 0).contiguous()


def nearest_seen(
    seen: np.ndarray,  # (H, W) bool, somewhere True
) -> tuple[np.ndarray, np.ndarray]:  # (H, W) float32 pixels, (H, W) int64
    """Find the nearest seen pixel of every pixel (a distance transform): how far it is, and its index in the flat image."""
    unseen = (~seen).astype(np.uint8)
    distance, label = cv2.distanceTransformWithLabels(unseen, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    index = np.zeros(label.max() + 1, np.int64)
    index[label[seen]] = np.flatnonzero(seen)
    return distance, index[label]


def continued(
    colour: np.ndarray,  # (H, W, 3) float32
    inside: np.ndarray,  # (H, W) bool, somewhere True
) -> np.ndarray:  # (H, W, 3) float32
    """Replace the colours outside by blurs of those inside, from fine to coarse, so that every pixel has one."""
    weight = inside.astype(np.float32)
    result, known = colour * weight[:, :, None], weight
    for sigma in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0):
        blurred_weight = cv2.GaussianBlur(weight, (0, 0), sigma)
        blurred = cv2.GaussianBlur(colour * weight[:, :, None], (0, 0), sigma) / np.maximum(blurred_weight, 1e-6)[:, :, None]
        share = (1 - known) * np.clip(blurred_weight / 0.05, 0, 1)
        result, known = result + blurred * share[:, :, None], known + share
    mean = colour[inside].mean(0)
    return (result + mean * (1 - known)[:, :, None]).astype(np.float32)
