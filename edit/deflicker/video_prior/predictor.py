"""What is trained for each clip: a linear map of the source's colours, and the network's correction of it."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from edit.deflicker.video_prior.footage import Footage
from edit.deflicker.video_prior.network import PriorNetwork

_RIDGE = 1e-4  # of the colour map, per pixel: greys do not say which channel they came from


class Prior(nn.Module):
    """Predictor of an edit: a linear map of the source's colours, plus the network's correction."""

    matrix: Tensor
    offset: Tensor

    def __init__(self, network: PriorNetwork, colours: np.ndarray) -> None:
        """colours: (4, 3), as `colour_map` finds them."""
        super().__init__()
        self.network = network
        self.register_buffer("matrix", torch.from_numpy(colours[:3].T.copy())[..., None, None])
        self.register_buffer("offset", torch.from_numpy(colours[3].copy()))

    def forward(self, source: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3 or 6, H, W): the edit, or its main and its minor look."""
        correction = self.network(source)
        mapped = F.conv2d(source, self.matrix, self.offset)
        return correction + mapped.repeat(1, correction.shape[1] // 3, 1, 1)

    @torch.no_grad()
    def predict(self, source: np.ndarray) -> np.ndarray:
        """(H, W, 3) in [0, 1] -> the edit of the frame, (H, W, 3); its main look where there are two."""
        images = as_images(source, self.offset.device)
        return self(images)[0, :3].clamp(0, 1).permute(1, 2, 0).cpu().numpy()


def colour_map(footage: Footage, frames: int) -> np.ndarray:  # (4, 3) float32
    """Fit the linear map of colours from source to edit, over the first `frames` frames: edit = (r, g, b, 1) @ map.

    Most of many edits is a change of colours. The network starts from it and is spared learning it.
    """
    square, right = _RIDGE * footage.size[0] * footage.size[1] * np.eye(4), np.zeros((4, 3))
    for index in range(frames):
        edited = footage.edited[index].reshape(-1, 4).astype(np.float64)
        known = np.concatenate([footage.source[index].reshape(-1, 3), np.ones((len(edited), 1))], 1)
        square += known.T @ (known * edited[:, 3:])
        right += (known * edited[:, 3:]).T @ edited[:, :3]
    return np.linalg.solve(square, right).astype(np.float32)


def as_images(image: np.ndarray, device: torch.device) -> Tensor:  # (H, W, C) -> (1, C, H, W)
    """Put an image on a device, as networks take it."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None].to(device)
