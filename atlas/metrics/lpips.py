"""LPIPS, the distance between pictures that was trained on what people see: its AlexNet variant, version 0.1, in torch.

Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018. The published package takes
torchvision along, whose usual build breaks a CPU installation of torch; so the network stands here, and its weights come from
one .safetensors file with the names that the package gives them (how it is made: the option --lpips-weights).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from atlas.errors import UserError, one_line
from atlas.metrics.definitions import unit
from atlas.storage.tensor_file import tensor_header

SMALLEST = 31
"""Pixels of the shorter side under which nothing is left of a picture at the network's end."""

# Convolutions: name, (out, in, size, size) of their weights, stride, padding, and whether the picture is halved before.
_LAYERS = [
    ("net.slice1.0", (64, 3, 11, 11), 4, 2, False),
    ("net.slice2.3", (192, 64, 5, 5), 1, 2, True),
    ("net.slice3.6", (384, 192, 3, 3), 1, 1, True),
    ("net.slice4.8", (256, 384, 3, 3), 1, 1, False),
    ("net.slice5.10", (256, 256, 3, 3), 1, 1, False),
]
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # ImageNet's mean and deviation, for pixels from -1 to 1


class Lpips:
    """LPIPS distance of two pictures: 0 where they are the same, near 1 where they have nothing in common."""

    def __init__(self, file: Path, device: torch.device) -> None:
        """UserError where the file is no safetensors file, not that of this network, or holds no numbers."""
        self.file, self.device = file, device
        self._weights = {name: value.to(device) for name, value in _read(file).items()}
        self._shift, self._scale = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (_SHIFT, _SCALE))

    @torch.no_grad()
    def __call__(
        self,
        image: np.ndarray,  # (H, W, 3)
        other: np.ndarray,  # (H, W, 3)
    ) -> float:
        """Compute LPIPS: sum over layers of mean over places of w . (a - b)^2, a and b the layer's features of length 1.

        NaN for pictures under `SMALLEST` pixels.
        """
        if min(image.shape[:2]) < SMALLEST:
            return float("nan")
        pair = torch.from_numpy(np.stack([unit(image), unit(other)])).permute(0, 3, 1, 2).to(self.device)
        total = 0.0
        for number, features in enumerate(self._features((2 * pair - 1 - self._shift) / self._scale)):
            normal = features / (features.pow(2).sum(1, keepdim=True).sqrt() + 1e-10)
            squared = (normal[:1] - normal[1:]) ** 2
            total += float(functional.conv2d(squared, self._weights[f"lin{number}.model.1.weight"]).mean())
        return total

    def _features(self, pixels: Tensor) -> list[Tensor]:
        features = []
        for name, _, stride, padding, halved in _LAYERS:
            if halved:
                pixels = functional.max_pool2d(pixels, 3, 2)
            weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
            pixels = functional.relu(functional.conv2d(pixels, weight, bias, stride, padding))
            features.append(pixels)
        return features


def shapes() -> dict[str, tuple[int, ...]]:
    """List the shapes of the weights that are read, by their names in the file."""
    shape_of: dict[str, tuple[int, ...]] = {}
    for number, (name, shape, *_) in enumerate(_LAYERS):
        shape_of |= {f"{name}.weight": shape, f"{name}.bias": shape[:1], f"lin{number}.model.1.weight": (1, shape[0], 1, 1)}
    return shape_of


def _read(file: Path) -> dict[str, Tensor]:
    from safetensors import safe_open

    if not file.is_file():
        raise UserError(f"{file} is missing: check --lpips-weights")
    try:
        described, _ = tensor_header(file)
        lost = [name for name, shape in shapes().items() if described.get(name, ("", None))[1] != shape]
        if lost:
            raise UserError(f"{file} has no weights of LPIPS with AlexNet ({lost[0]}): --help says how it is made")
        with safe_open(str(file), framework="pt") as opened:
            weights = {name: opened.get_tensor(name).float() for name in shapes()}
    except UserError:
        raise
    except Exception as problem:  # safetensors has errors of its own
        raise UserError(f"{file} is no .safetensors file ({one_line(problem)}): other formats are not read") from None
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise UserError(f"{file} holds weights that are no numbers: make it again, --help says how")
    return weights
