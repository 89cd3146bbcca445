"""A LoRA on the attentions of the UNet, beside those that are on it already, and taken out again without a trace.

Low-rank adaptation (Hu et al., ICLR 2022): a layer's weight W becomes W + B A, A of `rank` rows drawn from a normal
distribution, B of 0 at first.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from edit.models.on_top.loras import load_lora

_NAME = "tuned"  # of the adapter, in peft's tables
_LAYERS = ["to_q", "to_k", "to_v", "to_out.0"]  # of every attention
_TABLES = ("peft_config", "_hf_peft_config_loaded")  # what diffusers keeps of adapters on the UNet itself

Weights = dict[str, torch.nn.Parameter]


@contextlib.contextmanager
def new_lora(unet: Any, rank: int, seed: int) -> Iterator[Weights]:
    """Put a fresh LoRA on the UNet for a while: float32 weights by their names in a file; they alone have gradients."""
    from peft import LoraConfig

    config = LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=_LAYERS)
    with _taken_out(unet) as active:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            torch.default_generator.manual_seed(seed)  # from which peft draws, on the CPU
            warnings.simplefilter("ignore", UserWarning)  # of peft, that others are there already
            unet.add_adapter(config, _NAME)
        _activate(unet, active)
        unet.requires_grad_(False)
        weights: Weights = {}
        for name, weight in unet.named_parameters():
            if f".{_NAME}." in name:
                weight.data = weight.data.float()
                weights[f"unet.{name.replace(f'.{_NAME}.', '.')}"] = weight.requires_grad_(True)
        yield weights


@contextlib.contextmanager
def stored_lora(pipeline: Any, path: Path) -> Iterator[None]:
    """Put the LoRA of a file on the UNet for a while, at weight 1; UserError where it does not fit."""
    with _taken_out(pipeline.unet) as active:
        load_lora(pipeline, path, _NAME)
        _activate(pipeline.unet, active)
        yield


def _adapted(unet: Any) -> dict[str, Any]:
    """Layers of the UNet that adapters are on, by name."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {name: module for name, module in unet.named_modules() if isinstance(module, BaseTunerLayer)}


def _activate(unet: Any, active: dict[str, list[str]]) -> None:
    """Switch ours on beside those that were: putting one on switches the others off."""
    for name, layer in _adapted(unet).items():
        layer.set_adapter([*active.get(name, []), _NAME])


@contextlib.contextmanager
def _taken_out(unet: Any) -> Iterator[dict[str, list[str]]]:
    """Give the adapters that each layer has switched on; after the block all layers, switches and tables are as before."""
    active = {name: list(layer.active_adapters) for name, layer in _adapted(unet).items()}
    learned = [(weight, weight.requires_grad) for weight in unet.parameters()]
    tables = {name: vars(unet)[name] for name in _TABLES if name in vars(unet)}
    configs = dict(tables.get("peft_config", {}))
    try:
        yield active
    finally:
        for name, layer in _adapted(unet).items():
            if name in active:
                layer.set_adapter(active[name])  # first: peft warns where what it deletes is switched on
                layer.delete_adapter(_NAME)
            else:
                parent, _, child = name.rpartition(".")
                setattr(unet.get_submodule(parent), child, layer.get_base_layer())
        for name in _TABLES:
            if name in vars(unet):
                delattr(unet, name)
        for name, table in tables.items():
            setattr(unet, name, configs if name == "peft_config" else table)
        for weight, learns in learned:
            weight.requires_grad_(learns)
            weight.grad = None
