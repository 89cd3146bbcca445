"""Control images: what a ControlNet holds the picture to. Edges by canny, depth, or images of the user's own."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from atlas.errors import UserError, one_line
from atlas.weights.folder import check_folder, check_room, described, weight_bytes
from atlas.weights.networks import check_names, variant

_METRIC = ("zoedepth", "glpn")  # kinds of transformers' networks that give distances alone
# What depth estimators are published with, or without, that no depth comes from: tables of positions, what summarises a picture
# or masks parts of it in training, another network beside it, and DPT's unit for what its first stage is never handed.
_NOT_OF_DEPTH = re.compile(
    r"(.*\.)?(relative_position_index|position_ids|mask_token|num_batches_tracked)|(.*\.)?pooler\..*|(fov_model|auxiliary_head)\..*"
    r"|neck\.fusion_stage\.layers\.0\.residual_layer1\..*"
)
_NEAREST = 0.1  # metres: nearer, the inverse would push all the rest together


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
        with _as_user_error(folder):
            config = AutoConfig.from_pretrained(folder, **own)
            size = weight_bytes(folder, "depth estimator")
            check_room(
                folder,
                "depth estimator",
                lambda: AutoModelForDepthEstimation.from_config(config, trust_remote_code=False),
                size,
            )
            self._processor = AutoImageProcessor.from_pretrained(folder, **own)
            self._network, found = AutoModelForDepthEstimation.from_pretrained(
                folder, use_safetensors=True, variant=variant(folder), output_loading_info=True, **own
            )
            self._prepared(np.zeros((64, 64, 3), np.uint8))  # what cannot prepare a picture says so now
        unused, missing = (
            [name for name in found[kind] if not _NOT_OF_DEPTH.fullmatch(name)] for kind in ("unexpected_keys", "missing_keys")
        )
        check_names(folder, "depth estimator", sorted(unused), sorted(missing))
        self.folder, self.device = folder, device
        self._gives_distance = gives_distance(described(folder / "config.json"))
        self._network.to(device).eval()

    def _prepared(self, image: np.ndarray) -> Any:  # (H, W, 3) uint8
        return self._processor(images=image, return_tensors="pt")

    @torch.no_grad()
    def __call__(
        self,
        image: np.ndarray,  # (H, W, 3) uint8
    ) -> np.ndarray:  # (H, W, 3) uint8
        """Relative inverse depth from 0 (far) to 255 (near)."""
        with _as_user_error(self.folder):
            inputs = self._prepared(image).to(self.device)
            depth = self._network(**inputs).predicted_depth.float()[0].cpu().numpy()
        if self._gives_distance:
            depth = 1 / np.maximum(depth, _NEAREST)
        depth = cv2.resize(depth, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_CUBIC)
        low, high = float(depth.min()), float(depth.max())
        grey = ((depth - low) / max(high - low, 1e-6) * 255 + 0.5).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)


@contextlib.contextmanager
def _as_user_error(folder: Path) -> Iterator[None]:
    """Whatever transformers raises on files that are not what it expects, as one line."""
    try:
        yield
    except (UserError, MemoryError, torch.cuda.OutOfMemoryError):
        raise
    except Exception as problem:  # of many kinds
        raise UserError(
            f"{folder} is no depth estimator that can be used ({one_line(problem)}): name another with --depth-model"
        ) from None


def gives_distance(config: Mapping[str, Any]) -> bool:
    """Whether a depth estimator of this description gives metres, in which far is bright: others give their inverse.

    Depth Anything says it, ZoeDepth and GLPN know nothing else, and DPT stands on DINOv2 only where it was tuned to indoor or
    street distances (facebook/dpt-dinov2-*-nyu, -kitti).
    """
    kind, backbone = config.get("model_type"), config.get("backbone_config")
    if config.get("depth_estimation_type") == "metric" or kind in _METRIC:
        return True
    return kind == "dpt" and isinstance(backbone, dict) and backbone.get("model_type") == "dinov2"
