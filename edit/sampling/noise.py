"""Noise of all frames: white noise that moves with the layers and stays exactly normal in each frame.

    cell = sum of its texels / sqrt(their number)

Each texel of each layer holds a number from N(0, 1). In a frame a texel belongs to one cell of the latent alone, the one
that it is seen in, so given the maps cells are independent and N(0, 1) exactly; between frames the correlation of two
cells is (texels shared) / sqrt(n1 n2). The atlas's form of integral noise (ICLR 2024), which warps along flow: here no
chain drifts, and any two frames share.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from atlas.geometry.rasterise import inverse_map
from atlas.maps.tracks import VISIBLE
from atlas.maps.views import ViewMaps
from edit.diffusion.denoise import draw

_USUAL = 150
"""Texels in a cell of the latent, in the median: so many that cells shift smoothly through them."""
_FEWEST = 16
"""Texels in a cell where the layer is spread thinnest (but for a hundredth of it)."""
_LARGEST = 2**24  # numbers of a layer: 64 MB
_LOOKED_AT = 16  # frames, of whose mapping the density is measured


class AtlasNoise:
    """Noise for the latents of all frames that moves with the layers, (C, h, w) each: standard normal, the same for a seed.

    The numbers of each layer's texels take at most 64 MB; nothing else is kept between frames.
    """

    def __init__(
        self,
        maps: ViewMaps,
        layers: Sequence[str],
        shape: tuple[int, int, int],  # (C, h, w) of a frame's latent, which covers the view
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self._maps, self._shape, self._seed, self._device = maps, shape, seed, torch.device(device)
        self._sizes = {layer: noise_texels(maps, layer, shape) for layer in layers}
        generator = _generator(seed, 0)
        self._texels = {
            layer: torch.randn(size[0] * size[1], shape[0], generator=generator).to(self._device)
            for layer, size in self._sizes.items()
        }

    def frame(self, index: int) -> Tensor:  # (1, C, h, w)
        """Sum the noise of the texels that this frame shows; where it shows none, draw numbers of (seed, frame)."""
        channels, rows, columns = self._shape
        total = torch.zeros(rows * columns, channels, device=self._device)
        count = torch.zeros(rows * columns, 1, device=self._device)
        for layer, texels in self._texels.items():
            texel, cell = self._seen(layer, index)
            total.index_add_(0, cell, texels[texel])
            count.index_add_(0, cell, torch.ones(len(cell), 1, device=self._device))
        own = draw(self._shape, _generator(self._seed, index + 1)).to(self._device)
        cells = (total / count.clamp(min=1).sqrt()).T.view(1, *self._shape)
        return torch.where(count.view(1, 1, rows, columns) > 0, cells, own)

    def _seen(self, layer: str, frame: int) -> tuple[Tensor, Tensor]:  # texels (M,), each once, and their cells (M,)
        opacity = self._read(self._maps.opacity(layer, frame))
        inverse = inverse_map(self._read(self._maps.uv(layer, frame)), opacity, self._sizes[layer])
        shown = inverse.look_up(opacity[..., None], mode="bilinear")[:, 0] > VISIBLE
        (rows, columns), (height, width) = self._shape[1:], opacity.shape
        row = ((inverse.y[shown] + 0.5) * (rows / height)).long().clamp(0, rows - 1)
        column = ((inverse.x[shown] + 0.5) * (columns / width)).long().clamp(0, columns - 1)
        return inverse.texel[shown], row * columns + column

    def _read(self, image: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(image)).to(self._device)


def _generator(seed: int, number: int) -> torch.Generator:
    """Its own for each number, with others than the seed's by itself: a scheduler that draws in each step has these."""
    mixed = np.random.SeedSequence([seed % 2**64, number]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed))  # on the CPU, so that every device draws the same numbers


def noise_texels(maps: ViewMaps, layer: str, shape: tuple[int, int, int]) -> tuple[int, int]:  # (H, W)
    """Choose the texels of a layer's noise: 150 in a cell of the latent in the median, and 16 where it is spread thinnest.

    Measured in the view, on frames all over the clip; never more than 64 MB of numbers.
    """
    areas = [_atlas_areas(maps, layer, frame) for frame in _spread(maps.frames)]
    seen, (height, width) = np.concatenate(areas), maps.atlas_size(layer)
    pixels = maps.height * maps.width / (shape[1] * shape[2])  # of a cell
    most = _LARGEST / (shape[0] * height * width)
    if len(seen):
        usual, least = (max(float(np.quantile(seen, share)) * pixels, 1e-12) for share in (0.5, 0.01))
        wanted = max(_USUAL / usual, _FEWEST / least) / (height * width)
    else:  # seen in none of these frames: as dense as the atlas itself
        wanted = 1.0
    scale = min(wanted, most) ** 0.5
    return max(1, int(height * scale)), max(1, int(width * scale))


def _spread(frames: int) -> list[int]:
    return sorted({round(place) for place in np.linspace(0, frames - 1, _LOOKED_AT)})


def _atlas_areas(maps: ViewMaps, layer: str, frame: int) -> np.ndarray:  # (n,): share of the atlas under each visible pixel
    visible = maps.opacity(layer, frame)[:-1, :-1] > VISIBLE
    uv = maps.uv(layer, frame)
    across, down = (uv[:-1, 1:] - uv[:-1, :-1])[visible], (uv[1:, :-1] - uv[:-1, :-1])[visible]
    return np.abs(across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]) / 4
