"""Low frequencies of an image in bands: how light all of it is, what is wide, and what is less wide."""

from __future__ import annotations

import cv2
import numpy as np

_WIDER = 4.0  # times the blur that ends the last band


def blurred(image: np.ndarray, weight: np.ndarray, sigma: float) -> np.ndarray:  # (H, W, 3), (H, W) -> (H, W, 3)
    """Blur (low-pass) by a Gaussian of `sigma` pixels, of what has weight; 0 where nothing near has."""
    weighted = np.dstack([image * weight[..., None], weight])
    total = cv2.GaussianBlur(weighted, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return total[..., :3] / np.maximum(total[..., 3:], 1e-4)


def low_bands(image: np.ndarray, weight: np.ndarray, sigma: float) -> np.ndarray:  # (H, W, 3), (H, W) -> (3, H, W, 3)
    """Split the blurred image into bands whose sum it is: its mean; a blur four times as wide, without that; the rest."""
    level = (image * weight[..., None]).sum((0, 1)) / max(float(weight.sum()), 1e-4)
    wide, narrow = blurred(image, weight, _WIDER * sigma), blurred(image, weight, sigma)
    return np.stack([np.broadcast_to(level, image.shape), wide - level, narrow - wide])
