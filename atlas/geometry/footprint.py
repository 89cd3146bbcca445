"""The footprint of points in an image: the four texels around each, and the shares in which it lies between them.

`splat` and `sample` of `atlas.geometry.warp` for points that are spread and looked up several times: where they lie is worked
out once, and of the image only the box that they touch is ever made.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from atlas.geometry.boxes import Box, sides_of


class Footprint:
    """Where M points lie in an image of H x W texels: they are spread over it (splatted) and looked up there, bilinearly.

    Points beyond the image's border lie on it.
    """

    def __init__(
        self,
        uv: Tensor,  # (M, 2) in [-1, 1], at least one
        size: tuple[int, int],  # (H, W) of the image, at least 2 x 2
    ) -> None:
        height, width = size
        x = ((uv[:, 0] + 1) * (width / 2) - 0.5).clamp_(0, width - 1)
        y = ((uv[:, 1] + 1) * (height / 2) - 0.5).clamp_(0, height - 1)
        left, top = x.int().clamp_(max=width - 2), y.int().clamp_(max=height - 2)
        columns = slice(int(left.min()), int(left.max()) + 2)
        rows = slice(int(top.min()), int(top.max()) + 2)
        self.box: Box = (rows, columns)
        """The part of the image that the points touch."""
        self.shape = sides_of(self.box)
        """(h, w) of it."""
        x, y = x.sub_(left), y.sub_(top)
        first = top.sub_(rows.start).mul_(self.shape[1]).add_(left.sub_(columns.start))
        both = x * y
        steps = torch.tensor([0, 1, self.shape[1], self.shape[1] + 1], dtype=first.dtype, device=uv.device)
        self._texel = first[:, None] + steps  # (M, 4) in the flat box
        self._share = torch.stack([1 - x - y + both, x - both, y - both, both], 1)
        self._matrix = self._sparse() if uv.device.type == "cpu" else None

    def _sparse(self) -> csr_matrix:
        """The shares as a sparse matrix, (M, h * w): on a CPU its products take a fifth of what gathering and adding takes."""
        starts = np.arange(0, self._texel.numel() + 1, 4, dtype=np.int32)
        entries = self._share.numpy().ravel(), self._texel.numpy().ravel(), starts
        return csr_matrix(entries, shape=(len(self._texel), self.shape[0] * self.shape[1]))

    def spread(self, values: Tensor) -> Tensor:  # (M, C) -> (h, w, C)
        """Spread values: for each texel the sum over the points of value * share. The adjoint of `look_up`."""
        if self._matrix is not None:
            return torch.from_numpy(self._matrix.T @ values.numpy()).view(*self.shape, -1)
        total = values.new_zeros(self.shape[0] * self.shape[1], values.shape[1])
        for texel, share in zip(self._texel.long().unbind(1), self._share.unbind(1), strict=True):
            # Unlike `index_add_`, this sorts first on a GPU: every run adds in the same order.
            total.index_put_((texel,), values * share[:, None], accumulate=True)
        return total.view(*self.shape, -1)

    def look_up(self, image: Tensor) -> Tensor:  # (h, w, C) -> (M, C)
        """Look up the part of an image that the points touch (sample it)."""
        flat = image.reshape(-1, image.shape[-1])
        if self._matrix is not None:
            return torch.from_numpy(self._matrix @ flat.numpy())
        total = flat.new_zeros(len(self._texel), flat.shape[1])
        for texel, share in zip(self._texel.long().unbind(1), self._share.unbind(1), strict=True):
            total.addcmul_(flat.index_select(0, texel), share[:, None])
        return total
