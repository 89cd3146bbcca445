"""The footprint of points in an image: the four texels around each, and the shares in which it lies between them.

`splat` and `sample` of `atlas.geometry.warp` for points that are spread and looked up several times: where they lie is worked
out once, and only the rows of the image that they touch are ever made.
"""

from __future__ import annotations

from torch import Tensor

from atlas.geometry.warp import bilinear_taps


class Footprint:
    """Where M points lie in an image of H x W texels, flat: spread over it (splatted) and looked up there, bilinearly."""

    def __init__(
        self,
        uv: Tensor,  # (M, 2) in [-1, 1]
        size: tuple[int, int],  # (H, W) of the image
    ) -> None:
        index, self._share = bilinear_taps(uv, *size)
        first = int(index[0].min()) // size[1] * size[1] if len(uv) else 0
        last = (int(index[3].max()) // size[1] + 1) * size[1] if len(uv) else 0
        self.texels = slice(first, last)
        """The rows that the points touch, as a part of the flat image."""
        self._index = [tap - first for tap in index]

    def spread(self, values: Tensor) -> Tensor:  # (M, C) -> (texels, C)
        """Spread values: the sum over the points of value * share, for each texel. The adjoint of `look_up`."""
        total = values.new_zeros(self.texels.stop - self.texels.start, values.shape[1])
        for index, share in zip(self._index, self._share, strict=True):
            _add_rows(total, index, values * share[:, None])
        return total

    def look_up(self, image: Tensor) -> Tensor:  # (texels, C) -> (M, C)
        """Look the rows of an image up that the points touch (sample them)."""
        total = image.new_zeros(len(self._index[0]), image.shape[1])
        for index, share in zip(self._index, self._share, strict=True):
            total.addcmul_(image.index_select(0, index), share[:, None])
        return total


def _add_rows(total: Tensor, index: Tensor, rows: Tensor) -> None:
    if total.device.type == "cuda":  # sorts first, so that every run adds in the same order: `index_add_` does not there
        total.index_put_((index,), rows, accumulate=True)
    else:
        total.index_add_(0, index, rows)
