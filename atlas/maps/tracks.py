"""Correspondences through the atlas: where another frame shows the place that a cell of this frame shows.

    place = inverse(other, layer)[uv(frame, layer)[cell]],   layer: the one that is seen there

Unlike a chain of optical flow it does not drift: any two frames are one look-up apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from atlas.geometry.rasterise import inverse_map
from atlas.geometry.warp import pixel_grid, sample
from atlas.maps.views import ViewMaps

VISIBLE = 0.5
"""Opacity above which a layer is what one sees of a pixel."""
_KEPT = 32  # inverse maps of a layer in a frame: 4 MB each at 512 texels
_COARSE = 8192  # cells: places of so few are kept, since attention asks for the same ones in every step of a sampling
_KEPT_PLACES = 2048  # 150 MB at most: 256 frames in 4 others, at two sizes
_WHOLE = 0.999  # share of the four texels around a place that must be known: beyond that the inverse would be extrapolated


class Tracks:
    """Correspondences between any two frames of a view, exact to a fraction of a pixel.

    layers: those that are followed; most_texels: along the atlas in which the mapping is inverted. On the sample of 480x272
    99.9 % of places are met to 0.001 px at 512 texels and to 0.03 px at 64, the others to 0.3 px. What lies less than a texel
    from the centres of the outermost pixels is not known.
    """

    def __init__(
        self, maps: ViewMaps, layers: Sequence[str], *, most_texels: int = 512, device: torch.device | str = "cpu"
    ) -> None:
        self.layers, self.device = tuple(layers), torch.device(device)
        self._maps, self._most_texels = maps, most_texels
        self._inverse = lru_cache(maxsize=_KEPT)(self._inverted)
        self._kept = lru_cache(maxsize=_KEPT_PLACES)(self._looked_up)

    def places(
        self,
        frame: int,
        other: int,
        size: tuple[int, int] | None = None,  # (h, w) cells over the view; None: a cell for each pixel
    ) -> tuple[Tensor, Tensor]:  # (h, w, 2) in [-1, 1] of the other frame as in `atlas.geometry.warp`, (h, w) bool: known
        """Look up where `other` shows what the centre of each cell of `frame` shows, through the layer that is seen there.

        Not known is a place at which no layer is seen in `frame`, or its layer is not seen in `other`: those hold the
        cell's own centre. A frame's places in itself are its cells' centres, all known. What is returned is kept: do not
        change it.
        """
        height, width = size or (self._maps.height, self._maps.width)
        look_up = self._kept if height * width <= _COARSE else self._looked_up
        return look_up(frame, other, height, width)

    def _looked_up(self, frame: int, other: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        place = _centres(height, width, self.device)
        if frame == other:
            return place, torch.ones(height, width, dtype=torch.bool, device=self.device)
        cells, known = place.clone(), torch.zeros(height, width, dtype=torch.bool, device=self.device)
        opacity = torch.stack([sample(self._read_opacity(layer, frame), cells)[..., 0] for layer in self.layers])
        highest, seen = opacity.argmax(0), opacity.amax(0) > VISIBLE
        for number, layer in enumerate(self.layers):
            here = (highest == number) & seen
            if bool(here.any()):
                found, shown = self._found(layer, other, sample(self._read_uv(layer, frame), cells[here]))
                place[here] = torch.where(shown[:, None], found, cells[here])
                known[here] = shown
        return place, known

    def _found(self, layer: str, frame: int, uv: Tensor) -> tuple[Tensor, Tensor]:  # (n, 2) -> (n, 2), (n,) bool
        """Where `frame` shows these places of the atlas, and whether it does."""
        inverse = self._inverse(layer, frame)
        place, opacity, drawn = sample(inverse, uv).split([2, 1, 1], -1)
        shown = (drawn[:, 0] > _WHOLE) & (opacity[:, 0] > VISIBLE) & (uv.abs() <= 1).all(-1)
        # Beside a fold of the mapping the four texels lie far apart in the frame, and what is between them shows another place.
        texel = 2 / torch.tensor([inverse.shape[1], inverse.shape[0]], device=self.device)
        error = (sample(self._read_uv(layer, frame), place) - uv).abs()
        return place, shown & (error < texel / 2).all(-1)

    def _inverted(self, layer: str, frame: int) -> Tensor:  # (N, N, 4): place x, y, opacity there, 1; all 0 where not seen
        size = self._maps.atlas_size(layer)
        shrink = min(1.0, self._most_texels / max(size))
        small = (max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink)))
        opacity = self._read_opacity(layer, frame)
        inverse = inverse_map(self._read_uv(layer, frame), opacity[..., 0], small)
        height, width = opacity.shape[:2]
        x, y = (inverse.x + 0.5) * (2 / width) - 1, (inverse.y + 0.5) * (2 / height) - 1
        shown = inverse.look_up(opacity, mode="bilinear")
        return inverse.put(torch.cat([x[:, None], y[:, None], shown, torch.ones_like(shown)], 1), small)

    def _read_uv(self, layer: str, frame: int) -> Tensor:  # (H, W, 2)
        return self._read(self._maps.uv(layer, frame))

    def _read_opacity(self, layer: str, frame: int) -> Tensor:  # (H, W, 1)
        return self._read(self._maps.opacity(layer, frame))[..., None]

    def _read(self, image: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(image)).to(self.device)


def _centres(height: int, width: int, device: torch.device) -> Tensor:  # (h, w, 2) in [-1, 1]
    return pixel_grid(height, width, device) * (max(height, width) / torch.tensor([width, height], device=device))
