"""Sampling, splatting and compositing: pure functions on tensors, on whatever device these are.

Images are (H, W, C), coordinates uv are in [-1, 1] with pixel centres as in `align_corners=False`:
in an image of N pixels, pixel i has its centre at u = (2 i + 1) / N - 1.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def sample(
    image: Tensor,  # (H, W, C)
    uv: Tensor,  # (..., 2)
    *,
    mode: str = "bilinear",
) -> Tensor:  # (..., C)
    """Sample the colours of `image` at `uv`; outside the image its border is repeated."""
    grid = uv.reshape(1, 1, -1, 2)
    sampled = F.grid_sample(image.permute(2, 0, 1)[None], grid, mode=mode, padding_mode="border", align_corners=False)
    return sampled[0, :, 0].T.reshape(*uv.shape[:-1], image.shape[2])


def splat(
    values: Tensor,  # (..., C)
    uv: Tensor,  # (..., 2)
    weights: Tensor,  # (...)
    size: tuple[int, int],  # (H, W) of the atlas
) -> tuple[Tensor, Tensor]:  # sum of weighted values (H, W, C), sum of weights (H, W)
    """Splat values forwards, bilinearly: the adjoint of `sample`. Values whose uv is outside [-1, 1] are dropped.

    Divide the first result by the second to have the weighted mean per texel.
    """
    total = values.new_zeros(*size, values.shape[-1] + 1)
    splat_into(total, values, uv, weights)
    return total[..., :-1], total[..., -1]


def splat_into(
    total: Tensor,  # (H, W, C + 1), contiguous: weighted values and, last, weights; added to in place
    values: Tensor,  # (..., C)
    uv: Tensor,  # (..., 2)
    weights: Tensor,  # (...)
) -> None:
    """Splat onto what is there already: what many frames share costs one atlas of memory, not one each."""
    height, width, channels = *total.shape[:2], values.shape[-1]
    flat_uv, flat_weights = uv.reshape(-1, 2), weights.reshape(-1)
    inside = (flat_uv.abs() <= 1).all(-1) & (flat_weights > 0)
    flat_uv, flat_weights = flat_uv[inside], flat_weights[inside]
    weighted = torch.cat([values.reshape(-1, channels)[inside], values.new_ones(len(flat_uv), 1)], 1) * flat_weights[:, None]

    index, share = _bilinear_taps(flat_uv, height, width)
    flat_total = total.view(height * width, channels + 1)
    # One tap after the other: a quarter of the temporary memory, and the same speed.
    for tap in range(4):
        flat_total.index_add_(0, index[tap], weighted * share[tap][:, None])


def _bilinear_taps(uv: Tensor, height: int, width: int) -> tuple[list[Tensor], list[Tensor]]:
    """Find the four texels around each uv (N, 2) as flat indices, clamped to the border, and their shares."""
    x = (uv[:, 0] + 1) * (width / 2) - 0.5
    y = (uv[:, 1] + 1) * (height / 2) - 0.5
    left, top = x.floor(), y.floor()
    right_share, bottom_share = x - left, y - top
    x0, x1 = (left.long() + d for d in (0, 1))
    y0, y1 = (top.long() + d for d in (0, 1))
    x0, x1 = x0.clamp(0, width - 1), x1.clamp(0, width - 1)
    y0, y1 = y0.clamp(0, height - 1) * width, y1.clamp(0, height - 1) * width
    index = [y0 + x0, y0 + x1, y1 + x0, y1 + x1]
    share = [
        (1 - right_share) * (1 - bottom_share),
        right_share * (1 - bottom_share),
        (1 - right_share) * bottom_share,
        right_share * bottom_share,
    ]
    return index, share


def visible_opacities(
    opacities: Tensor,  # (objects, ...), front to back, each in [0, 1]
) -> Tensor:  # (objects + 1, ...): what one sees of each object and, last, of the background
    """Make opacities visible ones by stick breaking: a layer is seen through what those before it left open. They sum to 1."""
    through = torch.cumprod(1 - opacities, 0)
    before = torch.cat([torch.ones_like(through[:1]), through[:-1]])
    return torch.cat([opacities * before, through[-1:]])


def composite(
    colours: Tensor,  # (layers, ..., C)
    opacities: Tensor,  # (layers, ...) visible opacities, summing to 1
) -> Tensor:  # (..., C)
    """Composite the layers' colours, weighted by what one sees of each."""
    return (colours * opacities[..., None]).sum(0)


def pixel_grid(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:  # (H, W, 2)
    """List normalised x, y of the pixel centres: divided by half the longer side, centred on the frame."""
    half = max(height, width) / 2
    x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5 - width / 2) / half
    y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5 - height / 2) / half
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def frame_time(index: int | Tensor, frames: int) -> float | Tensor:
    """Normalise a frame number to t: -1 for the first, +1 for the last (0 in a clip of one)."""
    return index * (2 / (frames - 1)) - 1 if frames > 1 else index * 0.0


def bilinear(
    image: np.ndarray,  # (H, W, C) or (H, W)
    points: np.ndarray,  # (n, 2)
) -> np.ndarray:  # (n, C) or (n,)
    """Sample an image bilinearly at `points` (n, 2), x first, pixel centres at whole numbers; the border is repeated."""
    height, width = image.shape[:2]
    # Not cv2.remap: it rounds positions to 1/32 of a pixel, which is what is measured here.
    x, y = np.clip(points[:, 0], 0, width - 1), np.clip(points[:, 1], 0, height - 1)
    left, top = np.minimum(x.astype(int), max(width - 2, 0)), np.minimum(y.astype(int), max(height - 2, 0))
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    a, b = (x - left).astype(np.float32), (y - top).astype(np.float32)
    if image.ndim == 3:
        a, b = a[:, None], b[:, None]
    upper = image[top, left] * (1 - a) + image[top, right] * a
    lower = image[bottom, left] * (1 - a) + image[bottom, right] * a
    return upper * (1 - b) + lower * b
