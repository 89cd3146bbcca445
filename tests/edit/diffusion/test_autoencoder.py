"""Latents: scaled as diffusers' pipelines scale them, and back, for every kind of autoencoder."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from edit.diffusion.autoencoder import to_latent, to_pixels

pytest.importorskip("diffusers", reason="diffusers is not installed: pip install -e .[diffusion]")
MEAN, STD, SCALE = [0.5, -1.0, 0.0, 2.0], [2.0, 1.0, 0.5, 4.0], 0.25


def vae(config: dict[str, Any]) -> Any:
    """An autoencoder that does nothing: four channels to themselves."""
    same = SimpleNamespace(mode=lambda: PIXELS, sample=lambda generator: PIXELS)
    named = type("Config", (dict,), {"__getattr__": dict.__getitem__})(config)
    encode, decode = lambda pixels: SimpleNamespace(latent_dist=same), lambda latent, return_dict: (latent,)  # noqa: E731
    return SimpleNamespace(config=named, dtype=torch.float32, encode=encode, decode=decode)


PIXELS = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0))


def test_statistics_of_channels_are_taken_off_and_put_back() -> None:
    scaled = vae({"scaling_factor": SCALE, "latents_mean": MEAN, "latents_std": STD})
    latent = to_latent(scaled, PIXELS, None)
    for channel in range(4):
        assert torch.allclose(latent[:, channel], (PIXELS[:, channel] - MEAN[channel]) / STD[channel] * SCALE)
    assert torch.allclose(to_pixels(scaled, latent), PIXELS, atol=1e-6)
    plain = vae({"scaling_factor": SCALE, "latents_mean": None})
    assert torch.equal(to_latent(plain, PIXELS, None), SCALE * PIXELS)
    assert torch.equal(to_pixels(plain, PIXELS), PIXELS / SCALE)


def test_a_small_autoencoder_draws_nothing() -> None:
    from diffusers import AutoencoderTiny

    small = AutoencoderTiny(encoder_block_out_channels=(4,) * 4, decoder_block_out_channels=(4,) * 4)
    pixels = torch.rand(1, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        latent = to_latent(small, pixels, torch.Generator().manual_seed(0))
        assert torch.equal(latent, small.encode(pixels).latents) and latent.shape == (1, 4, 2, 2)
        assert torch.equal(to_pixels(small, latent), small.decode(latent).sample)
