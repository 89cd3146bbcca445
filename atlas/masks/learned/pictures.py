"""Pictures as networks take them: resized bilinearly with antialiasing, by a mean and a deviation of each colour.

What prepares pictures in transformers needs torchvision, which this project does without.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

Colour = tuple[float, float, float]
IMAGENET: tuple[Colour, Colour] = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation of the colours of ImageNet, in [0, 1]."""
CLIP: tuple[Colour, Colour] = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""The same of the pictures that CLIP was trained on."""


def network_input(
    frame: np.ndarray,  # (H, W, 3) uint8
    size: tuple[int, int],
    colours: tuple[Colour, Colour],
    device: torch.device,
) -> torch.Tensor:  # (3, h, w) float32
    """Resize a frame to `size` (height, width), whatever its shape, and normalise its colours by (mean, deviation)."""
    image = torch.from_numpy(np.ascontiguousarray(frame)).to(device).permute(2, 0, 1)[None].float() / 255
    image = functional.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)[0]
    mean, deviation = (torch.tensor(values, device=device)[:, None, None] for values in colours)
    return (image - mean) / deviation
