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
    return sample_planes(image, uv, mode=mode).movedim(0, -1).contiguous()


def sample_planes(
    image: Tensor,  # (H, W, C)
    uv: Tensor,  # (..., 2)
    *,
    mode: str = "bilinear",
) -> Tensor:  # (C, ...)
    """Sample the colours of `image` as `sample` does, as planes: what is computed with them then takes half the time."""
    grid = uv.reshape(1, 1, -1, 2)
    sampled = F.grid_sample(image.permute(2, 0, 1)[None], grid, mode=mode, padding_mode="border", align_corners=False)
    return sampled[0, :, 0].reshape(image.shape[2], *uv.shape[:-1])


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
    total: Tensor,  # (H, W, C + 1): weighted values and, last, weights; added to in place
    values: Tensor,  # (..., C)
    uv: Tensor,  # (..., 2)
    weights: Tensor,  # (...)
) -> None:
    """Splat onto what is there already: what many frames share costs one atlas of memory, not one each."""
    flat = values.reshape(-1, values.shape[-1])
    box, planes = splat_planes(flat.T, uv.reshape(-1, 2), weights.reshape(-1), (total.shape[0], total.shape[1]))
    total[box] += planes.permute(1, 2, 0)


def splat_planes(
    values: Tensor,  # (C, ...): whole planes
    uv: Tensor,  # (..., 2)
    weights: Tensor,  # (...)
    size: tuple[int, int],  # (H, W) of the atlas
) -> tuple[tuple[slice, slice], Tensor]:  # rows and columns (h, w) that are reached, and (C + 1, h, w) for them
    """Splat planes of values: the weighted sums and, last, the sum of weights, of the part of the atlas that is reached.

    A part is what a frame sees: sums of many frames can be made side by side, and added up in their order.
    """
    uv, weights, values = uv.reshape(-1, 2), weights.reshape(-1), values.reshape(len(values), -1)
    counts = weights > 0
    count = int(counts.count_nonzero())
    low, high = _ends(uv)
    if not ((low >= -1) & (high <= 1)).all() or 2 * count < len(uv):  # where nearly all count, picking them out costs more
        kept = (counts & (uv.abs() <= 1).all(-1)).nonzero()[:, 0]
        uv, weights, values, counts = uv[kept], weights[kept], values[:, kept], counts[kept]
        count, (low, high) = len(uv), _ends(uv)
    if not len(uv):
        return (slice(0, 0), slice(0, 0)), values.new_zeros(len(values) + 1, 0, 0)
    planes = values.new_empty(len(values) + 1, len(uv))
    torch.mul(values, weights, out=planes[:-1])
    planes[-1] = weights
    if count < len(uv):
        planes.masked_fill_(~counts, 0)  # also what is not finite there
    half = uv.new_tensor([size[1], size[0]]) / 2  # across, down
    first = ((low + 1) * half - 0.5).floor().clamp(min=0)
    last = torch.minimum(((high + 1) * half - 0.5).floor() + 1, 2 * half - 1)
    left, top, right, bottom = (int(number) for number in torch.cat([first, last]).tolist())
    # The same places in the part that is reached: (u + 1) * half - first are its texels.
    reach = 2 / (last - first + 1)
    place = torch.addcmul((half - first) * reach - 1, uv, half * reach)
    # The gradient of a bilinear look-up with regard to the image is this splat; torch has it as one loop over the points.
    reached = planes.new_zeros(1, len(planes), bottom - top + 1, right - left + 1)
    lookup = (reached, place[None, None], 0, 1, False)  # bilinear, the border repeated, align_corners=False
    sums = torch.ops.aten.grid_sampler_2d_backward(planes[None, :, None], *lookup, [True, False])[0][0]
    return (slice(top, bottom + 1), slice(left, right + 1)), sums


def _ends(uv: Tensor) -> tuple[Tensor, Tensor]:  # (n, 2) -> (2,) twice
    """Least and greatest of each coordinate; 0 where there are none."""
    if not len(uv):
        return uv.new_zeros(2), uv.new_zeros(2)
    low, high = zip(*(torch.aminmax(uv[:, i]) for i in (0, 1)), strict=True)
    return torch.stack(low), torch.stack(high)


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
