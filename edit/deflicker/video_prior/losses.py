"""Losses of Deep Video Prior: L1 of what is predicted, and the two looks of iteratively reweighted training.

Lei, Xing, Chen, Blind Video Temporal Consistency via Deep Video Prior, NeurIPS 2020. Published with VGG's features in the
place of colours as well; here colours alone, which need no weights. All images are (N, C, H, W).
"""

from __future__ import annotations

from torch import Tensor

_MINOR = 0.9  # of the minor look's loss in the beginning
_DARK = 0.1  # added to the source: a difference counts more where that is dark


def apart(predicted: Tensor, edited: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute distance (L1) over pixels and channels; weight: (N, 1, H, W)."""
    return _mean((predicted - edited).abs(), weight)


def first_look(looks: Tensor, edited: Tensor, weight: Tensor) -> Tensor:
    """Loss of both looks before they part: |main - edited| + 0.9 |minor - edited|. looks: (N, 6, H, W), main and minor."""
    main, minor = looks.chunk(2, dim=1)
    return apart(main, edited, weight) + _MINOR * apart(minor, edited, weight)


def reweighted(looks: Tensor, source: Tensor, edited: Tensor, weight: Tensor) -> Tensor:
    """Loss of iteratively reweighted training (IRT): each pixel teaches that look alone which is nearer to it.

    mean |main - edited| C + mean |minor - edited| (1 - C), with confidence C = 1 where max_c |main - edited| / (source + 0.1)
    is below the minor look's, else 0. looks: (N, 6, H, W), main and minor.
    """
    distances = [(look - edited).abs() for look in looks.chunk(2, dim=1)]
    main, minor = ((distance / (source + _DARK)).amax(1, keepdim=True).detach() for distance in distances)
    confidence = (main < minor).to(looks.dtype)
    return _mean(distances[0] * confidence, weight) + _mean(distances[1] * (1 - confidence), weight)


def _mean(distance: Tensor, weight: Tensor) -> Tensor:
    return (distance * weight).mean(1).sum() / weight.sum().clamp(min=1e-6)
