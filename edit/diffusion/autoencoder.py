"""Images to latents and back, as the autoencoders of Stable Diffusion scale them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def to_latent(vae: Any, pixels: Tensor, generator: torch.Generator | None) -> Tensor:
    """Encode pixels (1, 3, H, W) in [-1, 1] to a latent (1, C, h, w), drawn from what the autoencoder finds possible.

    Without a generator the mean of that. Small autoencoders (TAESD) give one latent and draw nothing.
    """
    found = vae.encode(pixels)
    if hasattr(found, "latents"):
        latent = found.latents
    else:
        latent = found.latent_dist.mode() if generator is None else found.latent_dist.sample(generator)
    mean, std = _statistics(vae, latent)
    if mean is None:
        return vae.config.scaling_factor * latent
    return (latent - mean) * (vae.config.scaling_factor / std)


def to_pixels(vae: Any, latent: Tensor) -> Tensor:
    """Decode a latent to pixels (1, 3, H, W), about in [-1, 1]."""
    mean, std = _statistics(vae, latent)
    scaled = latent / vae.config.scaling_factor if mean is None else latent * std / vae.config.scaling_factor + mean
    return vae.decode(scaled.to(vae.dtype), return_dict=False)[0]


def _statistics(vae: Any, latent: Tensor) -> tuple[Any, Any]:
    """Mean and spread of each channel, for autoencoders whose latents are brought to 0 and 1 by them; None for others."""
    given = vae.config.get("latents_mean"), vae.config.get("latents_std")
    if None in given:
        return None, None
    mean, std = (torch.tensor(value, device=latent.device, dtype=latent.dtype).view(1, -1, 1, 1) for value in given)
    return mean, std
