"""Attention along tracks: a token is averaged softly with the tokens of the anchors that show the same place."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

Places = Callable[[int, int], tuple[Tensor, Tensor]]
"""For a grid of (h, w) tokens: where each anchor shows what a token of each frame of the batch shows, (B, A, h, w, 2) in
[-1, 1] as `Tracks.places` has it, and whether that is known, (B, A, h, w) bool."""
_SOFT = 0.2  # of the usual scale of scores: soft averages (FRESCO, CVPR 2024)


def along_tracks(
    query: Tensor,  # (halves, B, N, heads, d)
    key: Tensor,  # the same: of the token itself
    value: Tensor,  # the same: what the attention before this one made of it
    anchor_keys: Tensor,  # (halves, A, N, heads, d)
    anchor_values: Tensor,  # (halves, A, N, heads, d)
    places: Tensor,  # (B, A, h, w, 2) with h * w = N
    known: Tensor,  # (B, A, h, w) bool
) -> Tensor:  # (halves, B, N, heads, d)
    """Attend from each token to itself and to the anchors' keys and values, looked up bilinearly at its places in them.

    Where no place is known the token keeps its own value, to the bit. After FRESCO (CVPR 2024) and FLATTEN (ICLR 2024),
    whose tracks are chained from optical flow; scores are scaled by 0.2 / sqrt(d).
    """
    planes = torch.stack([anchor_keys, anchor_values]).float()  # (2, halves, A, N, heads, d)
    _, halves, anchors, _, heads, width = planes.shape
    rows, columns = places.shape[2:4]
    planes = planes.flatten(4).transpose(3, 4).reshape(-1, heads * width, rows, columns)
    averaged = []
    for frame in range(query.shape[1]):  # the planes looked up are as large as a batch of anchors
        grid = places[frame].to(planes).repeat(2 * halves, 1, 1, 1)
        seen = F.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)
        keys, values = seen.view(2, halves, anchors, heads, width, -1).permute(0, 1, 2, 5, 3, 4)  # (halves, A, N, heads, d)
        keys, values = (torch.cat([own[:, frame, None].float(), others], 1) for own, others in ((key, keys), (value, values)))
        scores = (query[:, frame, None].float() * keys).sum(-1) * (_SOFT / width**0.5)  # (halves, 1 + A, N, heads)
        scores[:, 1:].masked_fill_(~known[frame].to(scores.device).flatten(1)[None, :, :, None], -torch.inf)
        averaged.append((scores.softmax(1)[..., None] * values).sum(1))
    return torch.stack(averaged, 1).to(value.dtype)
