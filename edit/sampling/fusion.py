"""Average fusion: frames' estimates share the mean of their backgrounds, cell by cell (consistency tuning, 2024).

    B    = sum_k m_b^k x^k / sum_k m_b^k       where that sum is above 0.05, else x^i
    x~_i = m_f^i x^i + m_b^i (w B + (1 - w) x^i)                                       m_f + m_b = 1

Frames are averaged where they are, without alignment: right for a still camera alone. `--agree atlas` is the same with it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from edit.tuning.examples import at_latent_size

_LEAST = 0.05  # of background over all frames: below it a mean would be of hardly anything


class Fusion:
    """Fuses the backgrounds of clean estimates, as the loop asks for agreement.

    foreground: of a frame's number, (H, W) in [0, 1], over what its latent covers.
    """

    def __init__(self, foreground: Callable[[int], np.ndarray]) -> None:
        self.foreground = foreground

    def __call__(self, estimates: Tensor, index: int) -> Tensor:  # (F, C, h, w) -> (F, C, h, w)
        """Measure what fusion changes of the estimates, at whatever step."""
        masks = [at_latent_size(self.foreground(frame), estimates[:1]) for frame in range(len(estimates))]
        return fusion_change(estimates, torch.cat(masks).to(estimates))


def fusion_change(
    estimates: Tensor,  # (F, C, h, w)
    foreground: Tensor,  # (F, 1, h, w) in [0, 1]: the mean of opacities over each cell
    share: float = 1.0,
) -> Tensor:  # (F, C, h, w)
    """Measure what average fusion adds to estimates: x~ - x. 0 to the bit in foreground, and where all frames agree.

    share: of the mean in the result (w); the published one is learned and not given.
    """
    total, weight = torch.zeros_like(estimates[0]), torch.zeros_like(foreground[0])
    for estimate, mask in zip(estimates, foreground, strict=True):  # frame by frame: no second copy of all of them
        total += (1 - mask) * (estimate - estimates[0])
        weight += 1 - mask
    # As differences from the first frame: where all are alike their mean is that to the bit.
    mean = estimates[0] + total / weight.clamp(min=_LEAST)
    drawn = share * (1 - foreground) * (weight > _LEAST)
    return drawn * (mean - estimates)
