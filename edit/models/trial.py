"""Trial of a network that a description asks for, without weights or numbers: what cannot run is told first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from atlas.errors import UserError, one_line

_SIDE, _TOKENS = 64, 77  # of latents and texts; nothing is computed with them
_TIMES = 6  # numbers by which XL is told sizes and crops


@torch.no_grad()
def check_runs(folder: Path, what: str, network: Any) -> None:
    """UserError where a network of diffusers, made on the meta device from the description in a folder, cannot run."""
    trial = _TRIALS.get(type(network).__name__)
    if trial is None:
        return
    try:
        trial(network.eval())
    except Exception as problem:  # a description may hold anything
        raise UserError(
            f"{folder / 'config.json'} describes a {what} that cannot run ({one_line(problem)}): download the folder again"
        ) from None


def _zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, device="meta")


def _conditions(config: Any) -> dict[str, Any]:
    """A text, and what else a UNet and its ControlNet take."""
    width = config.cross_attention_dim
    inputs: dict[str, Any] = {"encoder_hidden_states": _zeros(1, _TOKENS, width if isinstance(width, int) else width[0])}
    if config.addition_embed_type == "text_time":
        pooled = config.projection_class_embeddings_input_dim - _TIMES * config.addition_time_embed_dim
        inputs["added_cond_kwargs"] = {"text_embeds": _zeros(1, pooled), "time_ids": _zeros(1, _TIMES)}
    return inputs


def _unet(network: Any) -> None:
    network(_zeros(1, network.config.in_channels, _SIDE, _SIDE), _zeros(1), **_conditions(network.config))


def _controlnet(network: Any) -> None:
    image = _zeros(1, network.config.conditioning_channels, 8 * _SIDE, 8 * _SIDE)
    latent = _zeros(1, network.config.in_channels, _SIDE, _SIDE)
    network(latent, _zeros(1), controlnet_cond=image, **_conditions(network.config))


def _autoencoder(network: Any) -> None:
    network.encode(_zeros(1, network.config.in_channels, 8 * _SIDE, 8 * _SIDE))
    network.decode(_zeros(1, network.config.latent_channels, _SIDE, _SIDE))


_TRIALS: dict[str, Callable[[Any], None]] = {
    "UNet2DConditionModel": _unet,
    "ControlNetModel": _controlnet,
    "AutoencoderKL": _autoencoder,
    "AutoencoderTiny": _autoencoder,
}
