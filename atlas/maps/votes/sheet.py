"""A layer's sheet: its atlas at about a texel for each pixel, where a frame's pixels lie on it, and what they vote there.

Plain splatting, unlike `atlas.maps.partial`: what is averaged over all frames of a clip, and again in each step of a sampling,
must be cheap. Nothing has to be carried on over the sheet: a pixel looks up no texels but those that it voted on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from atlas.geometry.boxes import Box, bounding_box, sides_of
from atlas.geometry.filling import push_pull
from atlas.geometry.footprint import Footprint
from atlas.maps.keyframes import DARKEST
from atlas.maps.layer_view import MIXED
from atlas.maps.maps import LARGEST_ATLAS
from atlas.maps.views import ViewMaps

PerFrame = Callable[[int], np.ndarray]
"""An image (H, W) or (H, W, 3) for a frame's number."""

_MEASURED = 8  # frames in which the density of an atlas is measured
_CARRIED = 0.05  # what a pixel counts that is mixed with other layers
_FAINT = 1e-4  # least certainty, squared: a square of 100 pixels that have no more weighs as much as one that is certain
_DIVISOR = 0.25  # of the usual weight: what sharpens is divided by no less


class Frames(Protocol):
    """Frames that are read one by one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> np.ndarray:
        """(H, W, 3) float32 in [0, 1]."""
        ...


@dataclass(frozen=True)
class Vote:
    """What a frame says of a part of the sheet: its partial atlas."""

    box: Box
    """Of the sheet."""
    colour: Tensor
    """(h, w, 3), light removed; 0 where nothing was said."""
    weight: Tensor
    """(h, w, 1) in [0, 1]: 1 where the frame shows a texel as densely as it usually does."""


@dataclass(frozen=True)
class Pixels:
    """The M pixels of the part of a frame in which a layer is seen, and where they lie on its sheet."""

    box: Box
    """Of the frame."""
    footprint: Footprint
    opacity: Tensor
    """(M, 1), times where the edit applies."""
    light: Tensor
    """(M, 3), at least `DARKEST`."""

    @property
    def weight(self) -> Tensor:
        """(M, 1): what a pixel counts. One on an outline is mixed with what lies behind, and counts little."""
        pure = ((self.opacity - MIXED) / (1 - MIXED)).clamp(min=0)
        return self.opacity * (_CARRIED + (1 - _CARRIED) * pure)

    def picked(self, image: np.ndarray) -> Tensor:  # (H, W) or (H, W, C) -> (M, C)
        """Pick these pixels of an image of the frame."""
        part = np.ascontiguousarray(image[self.box], np.float32)
        return torch.from_numpy(part.reshape(-1, *image.shape[2:3] or (1,))).to(self.light.device)

    def unlit(self, frame: np.ndarray) -> Tensor:  # (H, W, 3) -> (M, 3)
        """Pick these pixels of a frame, and divide them by their light."""
        return self.picked(frame) / self.light

    def vote(self, unlit: Tensor) -> Vote:  # (M, 3)
        """Make the partial atlas of the pixels: splatted, then sharpened once by what sampling it misses."""
        weight = self.weight
        collected = self.footprint.spread(torch.cat([unlit * weight, weight], 1))
        colour, total = collected[..., :3], collected[..., 3:]
        colour = colour / total.clamp(min=1e-8)
        # More than 1 where pixels lie closer than texels do: what a texel collects in the midst of the layer.
        usual = float(total.square().sum() / total.sum())
        missing = unlit - self.footprint.look_up(colour)
        colour += self.footprint.spread(missing.mul_(weight)).div_(total.clamp(min=_DIVISOR * usual))
        return Vote(self.footprint.box, colour, (total / usual).clamp_(max=1))

    def certainty(self, vote: Vote) -> Tensor:  # (M, 1)
        """Measure how surely the texels around a pixel are the frame's own: less so on outlines and at the frame's border."""
        return self.footprint.look_up(vote.weight)

    def carried_on(
        self,
        values: Tensor,  # (M, 3)
        certainty: Tensor,  # (M, 1) in [0, 1]
    ) -> Tensor:  # (M, 3)
        """Fill in what is not certain from what is, beside it in the frame; 0 where that is far, or all of it 0."""
        shape, known = sides_of(self.box), certainty.square()
        weight = known.clamp(min=_FAINT)
        return push_pull((values * (known / weight)).view(*shape, 3), weight.view(*shape)).view(-1, 3)

    def add_to(self, frame: np.ndarray, values: Tensor) -> None:  # (H, W, 3), changed in place; (M, 3)
        """Add values to a frame, times the light and the opacity of the pixels."""
        part = frame[self.box]
        part += (values * self.light * self.opacity).cpu().numpy().reshape(part.shape)


class Sheet:
    """A layer's atlas at about a texel for each pixel of a view, and where the frames lie on it.

    density: texels across a pixel of the median frame. applies: where a frame's edit applies, (H, W) in [0, 1]; None:
    everywhere.
    """

    def __init__(
        self, maps: ViewMaps, layer: str, density: float, applies: PerFrame | None, device: torch.device | str = "cpu"
    ) -> None:
        self.maps, self.layer, self.applies, self.device = maps, layer, applies, torch.device(device)
        self.size = _size(maps, layer, density)
        """(H, W) texels."""

    def pixels(self, index: int) -> Pixels | None:
        """Find the layer's pixels in a frame; None where none are seen, or edited."""
        opacity = self.maps.opacity(self.layer, index)
        if self.applies:
            opacity = opacity * self.applies(index)
        box = bounding_box(opacity)
        if box is None:
            return None
        uv, opaque, light = (
            torch.from_numpy(image[box].reshape(-1, image.shape[2])).to(self.device)
            for image in (self.maps.uv(self.layer, index), opacity[..., None], self.maps.light(self.layer, index))
        )
        return Pixels(box, Footprint(uv, self.size), opaque, light.clamp(min=DARKEST))


def _size(maps: ViewMaps, layer: str, density: float) -> tuple[int, int]:
    """Size the atlas so that `density` texels go across a pixel in the median frame."""
    height, width = maps.atlas_size(layer)
    steps = []
    for index in np.unique(np.linspace(0, maps.frames - 1, _MEASURED).round().astype(int)).tolist():
        texel = maps.uv(layer, index) * np.array([width / 2, height / 2], np.float32)
        right, down = texel[:-1, 1:] - texel[:-1, :-1], texel[1:, :-1] - texel[:-1, :-1]
        area = np.abs(right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0])[maps.opacity(layer, index)[:-1, :-1] > 0.5]
        if area.size:
            steps.append(np.sqrt(np.median(area)))
    factor = density / max(float(np.median(steps)), 1e-3) if steps else 1.0
    factor = min(factor, LARGEST_ATLAS / max(height, width))
    return max(2, round(height * factor)), max(2, round(width * factor))
