"""Oil paint: the generalised Kuwahara filter (Papari, Petkov and Campisi 2007), which keeps edges and flattens texture."""

from __future__ import annotations

import cv2
import numpy as np

_SECTORS = 8


def oil(frame: np.ndarray, opacity: np.ndarray, *, radius: int = 6, edges: float = 4.0) -> np.ndarray:
    """Oil paint with dabs of `radius` pixels; higher `edges` (1 to 8) gives harder-edged dabs.

    Around each pixel, the means of eight soft sectors are averaged, the calm sectors (small standard deviation)
    counting most. Weighted by opacity, so that no other layer bleeds in.
    """
    if not 1 <= radius <= 40:
        raise ValueError("radius must be between 1 and 40")
    if not 0 < edges <= 16:
        raise ValueError("edges must be above 0 and at most 16")
    weight = opacity.astype(np.float32) + 1e-3
    stack = np.concatenate([frame * weight[..., None], (frame * frame) * weight[..., None], weight[..., None]], -1)
    total = np.zeros_like(frame)
    votes = np.zeros_like(weight)
    for kernel in _sector_kernels(radius):
        sums = np.stack([cv2.filter2D(stack[..., c], -1, kernel, borderType=cv2.BORDER_REFLECT_101) for c in range(7)], -1)
        share = np.maximum(sums[..., 6:], 1e-6)
        mean, square = sums[..., :3] / share, sums[..., 3:6] / share
        deviation = np.sqrt(np.maximum(square - mean * mean, 0).sum(-1))
        vote = sums[..., 6] / (1e-3 + (deviation * 20) ** edges)
        total += mean * vote[..., None]
        votes += vote
    return total / np.maximum(votes, 1e-12)[..., None]


def _sector_kernels(radius: int) -> list[np.ndarray]:
    """Eight soft sectors of a Gaussian disc, each summing to 1."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float32)
    disc = np.exp(-(x * x + y * y) / (2 * (radius / 2) ** 2)) * (x * x + y * y <= (radius + 0.5) ** 2)
    angle = np.arctan2(y, x)
    kernels = []
    for sector in range(_SECTORS):
        off = np.angle(np.exp(1j * (angle - sector * 2 * np.pi / _SECTORS)))
        kernel = disc * np.exp(-(off**2) / (2 * (np.pi / _SECTORS) ** 2))
        kernel[radius, radius] = disc[radius, radius]
        kernels.append((kernel / kernel.sum()).astype(np.float32))
    return kernels
