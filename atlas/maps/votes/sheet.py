"""A layer's sheet: its atlas at about a texel for each pixel, the pixels of a frame on it, and the partial atlas they make.

Plain splatting, unlike `atlas.maps.partial`: what is averaged over all frames of a clip, and again in each step of a sampling,
must be cheap. At this size it leaves no holes, and nothing has to be carried on: a pixel looks up no texels but its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atlas.geometry.boxes import Box, bounding_box
from atlas.geometry.filling import push_pull
from atlas.geometry.footprint import Footprint
from atlas.maps.keyframes import DARKEST
from atlas.maps.layer_view import MIXED
from atlas.maps.maps import LARGEST_ATLAS
from atlas.maps.views import ViewMaps

PerFrame = Callable[[int], np.ndarray]
"""An image (H, W) for a frame's number."""
_MEASURED = 8  # frames in which the density of an atlas is measured
_CARRIED = 0.05  # what a pixel counts that is mixed with other layers
_DIVISOR = 0.25  # of the usual weight: what sharpens is divided by no less
_SOME = 20_000  # pixels that a median is taken of


@dataclass(frozen=True)
class Vote:
    """What a frame says of the texels in the rows of the sheet that it touches: its partial atlas."""

    texels: slice
    """Of the flat sheet."""
    colour: Tensor
    """(n, 3), light removed."""
    weight: Tensor
    """(n, 1) in [0, 1]: 1 where the frame shows the texel as densely as it usually does."""


@dataclass(frozen=True)
class Pixels:
    """M pixels of a frame that show a layer, in the box that holds them."""

    box: Box
    place: Tensor
    """(M,) in the flat box."""
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

    def unlit(self, frame: np.ndarray) -> Tensor:  # (H, W, 3) -> (M, 3)
        """Pick the pixels of an image of the frame, and divide them by their light."""
        return self.picked(frame) / self.light

    def picked(self, image: np.ndarray) -> Tensor:  # (H, W, C) or (H, W) -> (M, C)
        """Pick the pixels of an image of the frame."""
        part = np.ascontiguousarray(image[self.box]).reshape(-1, image.shape[2] if image.ndim == 3 else 1)
        return torch.from_numpy(part).to(self.place.device).index_select(0, self.place)

    def vote(self, unlit: Tensor) -> Vote:  # (M, 3)
        """Make the partial atlas of the pixels: splatted, then sharpened once by what sampling it misses."""
        weight = self.weight
        colour, collected = self.footprint.spread(torch.cat([unlit * weight, weight], 1)).split([3, 1], 1)
        colour, usual = colour / collected.clamp(min=1e-8), self._usual(collected, weight)
        missing = unlit - self.footprint.look_up(colour)
        colour += self.footprint.spread(missing * weight) / collected.clamp(min=_DIVISOR * usual)
        return Vote(self.footprint.texels, colour, (collected / usual).clamp(max=1))

    def _usual(self, collected: Tensor, weight: Tensor) -> float:
        """What texels collect in the midst of the layer: more than 1 where pixels lie closer than texels do."""
        step = max(1, len(weight) // _SOME)
        whole = weight[::step, 0] >= weight.max() / 2
        return float(self.footprint.look_up(collected)[::step, 0][whole].median())

    def certainty(self, vote: Vote) -> Tensor:  # (M, 1)
        """Measure how surely the texels around a pixel are the frame's own: less so on outlines and at the frame's border."""
        return self.footprint.look_up(vote.weight).clamp(max=1)

    def carried_on(
        self,
        values: Tensor,  # (M, 3)
        certainty: Tensor,  # (M, 1) in [0, 1]
    ) -> Tensor:  # (M, 3)
        """Fill in what is not certain from what is, beside it in the frame. Where all is 0 the result is."""
        height, width = (side.stop - side.start for side in self.box)
        known = torch.cat([values, certainty.square()], 1)
        image = values.new_zeros(height * width, 4).index_copy_(0, self.place, known).view(height, width, 4)
        return push_pull(image[..., :3], image[..., 3]).view(-1, 3).index_select(0, self.place)

    def add_to(self, frame: np.ndarray, values: Tensor) -> None:  # (H, W, 3), changed in place; (M, 3)
        """Add values to a frame, times the light and the opacity of the pixels."""
        height, width = (side.stop - side.start for side in self.box)
        added = values.new_zeros(height * width, 3).index_copy_(0, self.place, values * self.light * self.opacity)
        frame[self.box] += added.view(height, width, 3).cpu().numpy()


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
        opacity, uv = self.maps.opacity(self.layer, index), self.maps.uv(self.layer, index)
        if self.applies:
            opacity = opacity * self.applies(index)
        seen = (opacity > 0) & (np.abs(uv) <= 1).all(-1)
        box = bounding_box(seen)
        if box is None:
            return None
        place = np.flatnonzero(seen[box])
        where, opaque, light = (
            torch.from_numpy(image[box].reshape(-1, image.shape[2])[place]).to(self.device)
            for image in (uv, opacity[..., None], self.maps.light(self.layer, index))
        )
        footprint = Footprint(where, self.size)
        return Pixels(box, torch.from_numpy(place).to(self.device), footprint, opaque, light.clamp(min=DARKEST))


def _size(maps: ViewMaps, layer: str, density: float) -> tuple[int, int]:
    """Size the atlas so that `density` texels go across a pixel in the median frame."""
    height, width = maps.atlas_size(layer)
    steps = []
    for index in np.unique(np.linspace(0, maps.frames - 1, _MEASURED).round().astype(int)):
        texel = maps.uv(layer, int(index)) * np.array([width / 2, height / 2], np.float32)
        right, down = texel[:-1, 1:] - texel[:-1, :-1], texel[1:, :-1] - texel[:-1, :-1]
        area = np.abs(right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0])[
            maps.opacity(layer, int(index))[:-1, :-1] > 0.5
        ]
        if area.size:
            steps.append(np.sqrt(np.median(area)))
    factor = density / max(float(np.median(steps)), 1e-3) if steps else 1.0
    factor = min(factor, LARGEST_ATLAS / max(height, width))
    return max(2, round(height * factor)), max(2, round(width * factor))
