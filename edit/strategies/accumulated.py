"""What edited keyframes show of a layer in another frame: their mean in the atlas, rendered through that frame's mapping."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from atlas.geometry.filling import push_pull
from atlas.geometry.warp import sample
from atlas.maps.keyframes import keyframe_pixels
from atlas.maps.views import ViewMaps


class Accumulated:
    """The keyframes of a layer that were edited so far, merged in its atlas: coverage beside colour, light removed."""

    def __init__(self, maps: ViewMaps, layer: str, device: torch.device | str = "cpu") -> None:
        self.maps, self.layer, self.device = maps, layer, device
        height, width = maps.atlas_size(layer)
        self._total = torch.zeros(height, width, 3, device=device)
        self._weight = torch.zeros(height, width, device=device)
        self._coverage = torch.zeros(height, width, device=device)
        self._mean: Tensor | None = None

    def add(
        self,
        frame: int,
        keyframe: np.ndarray,  # (H, W, 4) float32; alpha = the layer's opacity times where the edit applies
    ) -> None:
        """Take in one more edited keyframe."""
        image = self._placed(keyframe)
        pixels = keyframe_pixels(self.maps, self.layer, frame, image[..., 3])
        partial = pixels.in_atlas(pixels.unlit(image[..., :3]))
        self._total += partial.colour * partial.weight[..., None]
        self._weight += partial.weight
        self._coverage = torch.maximum(self._coverage, partial.weight.clamp(max=1))
        self._mean = None

    def view(self, frame: int) -> tuple[np.ndarray, np.ndarray]:  # (H, W, 3), (H, W) float32
        """What is known of the layer in `frame`, under its light, and how well; 0 where the layer is not.

        Colours are defined everywhere: where nothing is known they carry on smoothly, never from black.
        """
        maps, layer = self.maps, self.layer
        if self._mean is None:
            mean = self._total / self._weight.clamp(min=1e-12)[..., None]
            self._mean = push_pull(mean, self._weight * 1e3)
        uv, opacity = self._placed(maps.uv(layer, frame)), self._placed(maps.opacity(layer, frame))
        inside = (uv.abs() <= 1).all(-1) & (opacity > 0)
        coverage = sample(self._coverage[..., None], uv)[..., 0] * inside
        colour = sample(self._mean, uv) * self._placed(maps.light(layer, frame))
        return push_pull(colour, coverage).clamp(0, 1).cpu().numpy(), coverage.cpu().numpy()

    def _placed(self, image: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(image)).to(self.device)
