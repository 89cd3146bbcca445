"""All weights of the UNet itself, apart from whatever LoRAs and IP-Adapters are on it: learned, or replaced, for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def own_weights(unet: Any) -> dict[str, torch.nn.Parameter]:
    """List the UNet's own weights under the names that they have where nothing is on it."""
    weights = {name.replace(".base_layer.", "."): weight for name, weight in unet.named_parameters()}
    return {name: weight for name, weight in weights.items() if not _is_added(name)}


def _is_added(name: str) -> bool:
    """Whether a weight belongs to a LoRA or an IP-Adapter."""
    return ".lora_" in name or ".processor." in name or name.startswith("encoder_hid_proj.")


@contextlib.contextmanager
def learned_weights(unet: Any) -> Iterator[dict[str, torch.nn.Parameter]]:
    """Make the UNet's own weights, and no others, learnable for a while, in float32; afterwards they are as before."""
    weights, device = own_weights(unet), next(unet.parameters()).device
    learns = [(weight, weight.requires_grad) for weight in unet.parameters()]
    with replaced_weights(unet, {}):
        unet.requires_grad_(False)
        for weight in weights.values():
            weight.data = weight.data.to(device, torch.float32, copy=True)
            weight.requires_grad_(True)
        try:
            yield weights
        finally:
            for weight, learned in learns:
                weight.requires_grad_(learned)
                weight.grad = None


@contextlib.contextmanager
def replaced_weights(unet: Any, others: Mapping[str, Tensor]) -> Iterator[None]:
    """Put other weights in the place of the UNet's own for a while; afterwards these are back to the bit.

    The own ones wait in main memory: a GPU need not hold both.
    """
    weights = own_weights(unet)
    kept = {name: (weight.data.cpu(), weight.device) for name, weight in weights.items()}
    try:
        for name, other in others.items():
            weights[name].data = other.to(weights[name].device, weights[name].dtype)
        yield
    finally:
        for name, (data, device) in kept.items():
            weights[name].data = data.to(device)
