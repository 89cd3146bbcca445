"""Estimates of the clean latent (x0) from a scheduler's prediction, and back: what agreement changes is an estimate.

    a, s = how much of image and noise the scheduler's own `add_noise` mixes at a step;   c = sqrt(a^2 + s^2)
    epsilon: x0 = (z - s e) / a       v: x0 = (a / c) (z / c) - (s / c) v       sample: x0 = the prediction

All schedulers of diffusers are met alike, because none of their tables is read. Fed back as a prediction, a changed estimate
enters the history of those that take several steps together.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def clean(
    scheduler: Any,
    prediction: Tensor,  # (F, C, h, w)
    latents: Tensor,  # (F, C, h, w), before `scale_model_input`
    index: int,
) -> Tensor | None:  # (F, C, h, w)
    """Estimate the clean latents at step `index`; None where there is no noise left to be taken out."""
    a, s = mixture(scheduler, index)
    if s == 0 or a == 0:
        return None
    kind, c = scheduler.config.prediction_type, (a * a + s * s) ** 0.5
    if kind == "epsilon":
        return (latents - s * prediction) / a
    if kind == "v_prediction":
        return (a / c) * (latents / c) - (s / c) * prediction
    return prediction.clone()


def moved(
    scheduler: Any,
    prediction: Tensor,  # (F, C, h, w)
    change: Tensor,  # (F, C, h, w) of the estimate
    index: int,
) -> Tensor:  # (F, C, h, w)
    """Move a prediction so that its clean estimate at step `index` changes by `change`; to the bit the same where that is 0."""
    a, s = mixture(scheduler, index)
    kind, c = scheduler.config.prediction_type, (a * a + s * s) ** 0.5
    if kind == "epsilon":
        return prediction - (a / s) * change
    if kind == "v_prediction":
        return prediction - (c / s) * change
    return prediction + change


def mixture(scheduler: Any, index: int) -> tuple[float, float]:
    """Ask a scheduler how much of the image and of the noise its latents hold at step `index`."""
    one, none = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
    time = scheduler.timesteps[index : index + 1]
    return float(scheduler.add_noise(one, none, time)), float(scheduler.add_noise(none, one, time))
