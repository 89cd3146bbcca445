"""Windows of frames that overlap, denoised each for itself and averaged in every step (co-denoising, Gen-L-Video 2023)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from edit.recipes.recipe import Blend


def windows(frames: int, size: int, stride: int) -> list[range]:
    """List windows of `size` frames, `stride` apart; the last one ends at the last frame. size 0: one window of all."""
    if size == 0 or size >= frames:
        return [range(frames)]
    starts = [*range(0, frames - size, stride), frames - size]
    return [range(start, start + size) for start in starts]


def weights(size: int, blend: Blend) -> list[float]:
    """Weigh a window's frames: alike, or falling from its middle to its ends (triangular, as in DiffSynth)."""
    if blend == "flat":
        return [1.0] * size
    middle, half = (size - 1) / 2, (size - 1 + 0.01) / 2
    return [max(1 - abs(i - middle) / half, 0.01) for i in range(size)]


def averaged(
    spans: Sequence[range],
    blend: Blend,
    shape: Sequence[int],  # (F, C, h, w)
    predict: Callable[[range], Tensor],  # a window's frames -> (size, C, h, w)
) -> Tensor:  # (F, C, h, w)
    """Average the predictions of all windows, frame by frame.

    A frame that one window alone holds takes that one's as it is: one window gives what plain sampling gives, to the bit.
    """
    holders = torch.zeros(shape[0], dtype=torch.long)
    for span in spans:
        holders[list(span)] += 1
    total, weight = torch.zeros(tuple(shape)), torch.zeros(shape[0])
    for span in spans:
        prediction = predict(span)
        for place, (frame, share) in enumerate(zip(span, weights(len(span), blend), strict=True)):
            if holders[frame] == 1:
                total[frame] = prediction[place]
            else:
                total[frame] += share * prediction[place]
                weight[frame] += share
    several = holders > 1
    total[several] /= weight[several, None, None, None]
    return total
