"""Filling: colours and offsets carried on outwards to where nothing is known."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # noqa: N812
from torch import Tensor


def smooth_within(
    values: np.ndarray,  # (h, w, C) float32
    weights: np.ndarray,  # (h, w) float32 >= 0
    sigma: float,
    *,
    floor: float = 1e-6,
) -> np.ndarray:  # (h, w, C)
    """Gaussian mean of `values` where they have weight, continued outwards from ever wider neighbourhoods.

    floor: weight of an unseen value of zero; what has little support shrinks towards it.
    """
    height, width = weights.shape
    stacked = np.concatenate([values * weights[..., None], weights[..., None]], -1)
    total = np.zeros_like(stacked)
    share = 1.0
    reach = max(height, width)
    while True:
        total += share * wide_blur(stacked, sigma)
        if sigma > reach / 2:
            break
        sigma, share = sigma * 2.5, share * 0.02
    # The widest blur reaches everything: it only has to outweigh rounding where nothing nearer has support.
    return total[..., :-1] / (total[..., -1:] + floor * share)


def wide_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of (h, w, C), constant beyond the border; a wide one is made on a smaller image."""
    step = max(1, int(sigma / 3))
    if step == 1:
        return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE).reshape(image.shape)
    height, width = image.shape[:2]
    small = shrink(image, (max(1, height // step), max(1, width // step)))
    small = cv2.GaussianBlur(small, (0, 0), sigma / step, borderType=cv2.BORDER_REPLICATE)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR).reshape(image.shape)


def shrink(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, C) averaged over the cells of a coarser (h, w) grid; OpenCV takes four channels at a time."""
    parts = [image[..., i : i + 4] for i in range(0, image.shape[2], 4)]
    return np.dstack([cv2.resize(part, size[::-1], interpolation=cv2.INTER_AREA) for part in parts])


def fill_unseen(atlas: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Give texels without weight the colours around them, from ever coarser versions of the atlas.

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
    """Fill what is not known from what is known around it (Gortler et al. 1996); what is known stays."""
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


def _continued(colour: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Colours outside replaced by blurs of those inside, from fine to coarse, so that every pixel has one."""
    weight = inside.astype(np.float32)
    result, known = colour * weight[:, :, None], weight
    for sigma in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0):
        blurred_weight = cv2.GaussianBlur(weight, (0, 0), sigma)
        blurred = cv2.GaussianBlur(colour * weight[:, :, None], (0, 0), sigma) / np.maximum(blurred_weight, 1e-6)[:, :, None]
        share = (1 - known) * np.clip(blurred_weight / 0.05, 0, 1)
        result, known = result + blurred * share[:, :, None], known + share
    mean = colour[inside].mean(0)
    return (result + mean * (1 - known)[:, :, None]).astype(np.float32)
