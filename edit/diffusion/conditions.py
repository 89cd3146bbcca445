"""Control images: what a ControlNet holds the picture to. Edges by canny, depth, or images of the user's own."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from atlas.errors import UserError, one_line
from atlas.weights.folder import check_folder, check_room, weight_bytes


def canny(
    image: np.ndarray,  # (H, W, 3) uint8, H and W multiples of 64
    low: int = 100,
    high: int = 200,
) -> np.ndarray:  # (H, W, 3) uint8
    """White edges on black: controlnet-aux's detector where it is installed, OpenCV's Canny, which it calls, elsewhere."""
    detector = _canny_detector()
    if detector is None:
        return np.repeat(cv2.Canny(np.ascontiguousarray(image), low, high)[..., None], 3, axis=2)
    short = min(image.shape[:2])
    return np.asarray(detector(image, low, high, detect_resolution=short, image_resolution=short, output_type="np"))


@lru_cache(maxsize=1)
def _canny_detector() -> Any:
    try:
        from controlnet_aux import CannyDetector
    except (ImportError, RuntimeError, OSError):  # it takes torchvision along, which may be of another build than torch
        return None
    return CannyDetector()


class DepthEstimator:
    """Depth from a single image, by a network of transformers: near is bright, as the depth ControlNets expect it."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import AutoConfig, AutoImageProcessor, AutoModelForDepthEstimation

        check_folder(folder)
        # Where this is not said, transformers may ask at the terminal whether to run a program, and wait for the answer.
        own: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            config = AutoConfig.from_pretrained(folder, **own)
            size = weight_bytes(folder, "depth estimator")
            check_room(
                folder,
                "depth estimator",
                lambda: AutoModelForDepthEstimation.from_config(config, trust_remote_code=False),
                size,
            )
            self._processor = AutoImageProcessor.from_pretrained(folder, **own)
            self._network = AutoModelForDepthEstimation.from_pretrained(folder, use_safetensors=True, **own)
        except (UserError, MemoryError):
            raise
        except Exception as problem:  # transformers raises many kinds on files that are not what it expects
            raise UserError(
                f"{folder} is no depth estimator that can be loaded ({one_line(problem)}): name another with --depth-model"
            ) from None
        self.device = device
        self._network.to(device).eval()

    @torch.no_grad()
    def __call__(
        self,
        image: np.ndarray,  # (H, W, 3) uint8
    ) -> np.ndarray:  # (H, W, 3) uint8
        """Relative inverse depth from 0 (far) to 255 (near)."""
        inputs = self._processor(images=image, return_tensors="pt").to(self.device)
        depth = self._network(**inputs).predicted_depth.float()[0].cpu().numpy()
        depth = cv2.resize(depth, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_CUBIC)
        low, high = float(depth.min()), float(depth.max())
        grey = ((depth - low) / max(high - low, 1e-6) * 255 + 0.5).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
