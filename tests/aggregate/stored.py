"""Images and partial atlases written to files as the aggregate stage keeps them, from tensors."""

from __future__ import annotations

from pathlib import Path

import torch

from aggregate.merging import merge
from aggregate.network import Training
from aggregate.partials import Partials
from aggregate.stack import ImageStack
from aggregate.windows import View
from atlas.maps.partial import Partial


def stacked(path: Path, images: torch.Tensor) -> ImageStack:  # (K, H, W) or (K, H, W, C)
    """The images in a file."""
    stack = ImageStack(path, tuple(images.shape[1:]), len(images))
    for image in images:
        stack.append(image)
    return stack


def merged(folder: Path, partials: list[Partial], views: list[View], method: str, **more: object) -> torch.Tensor:
    """The edited atlas of keyframes that are all there, (H, W, 3)."""
    with Partials.of(folder, partials) as stored:
        return merge(stored, dict(enumerate(views)), method, Training(), **more)[0]  # type: ignore[arg-type]
