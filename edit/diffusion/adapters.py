"""What is put on top of a loaded model: LoRA files, and IP-Adapter for an image prompt."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atlas.errors import UserError
from atlas.hub import located, one_line

_IP_ADAPTERS = {False: ("models", "ip-adapter_sd15.safetensors"), True: ("sdxl_models", "ip-adapter_sdxl.safetensors")}


def add_loras(pipeline: Any, loras: Sequence[tuple[Path, float]]) -> None:
    """Load LoRA files with their weights; UserError where one does not fit the model."""
    if not loras:
        return
    if importlib.util.find_spec("peft") is None:
        raise UserError("--lora needs peft, which is not installed: pip install -e .[diffusion]")
    names = [f"lora{number}" for number in range(len(loras))]
    for name, (path, _) in zip(names, loras, strict=True):
        try:
            pipeline.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=name, local_files_only=True)
        except Exception as problem:  # of sizes, of names, of formats: diffusers and peft raise many kinds
            raise UserError(f"the LoRA {path} does not fit the model: {one_line(problem)}") from None
        if not any(name in adapters for adapters in pipeline.get_list_adapters().values()):
            raise UserError(f"the LoRA {path} does not fit the model: none of its weights belongs to it")
    pipeline.set_adapters(names, [scale for _, scale in loras])


def add_image_prompt(pipeline: Any, name: str, scale: float, *, is_xl: bool, offline: bool) -> None:
    """Load an IP-Adapter and its image encoder; UserError where it cannot be had or does not fit."""
    folder, weight = _IP_ADAPTERS[is_xl]
    path = located(name, "IP-Adapter", offline=offline, patterns=ip_adapter_files(is_xl))
    if path.is_file():
        place, subfolder, weight = path.parent, "", path.name
    else:
        place, subfolder = path, folder
    try:
        pipeline.load_ip_adapter(str(place), subfolder=subfolder, weight_name=weight, local_files_only=True)
        pipeline.set_ip_adapter_scale(scale)
    except Exception as problem:  # missing files, other sizes: diffusers raises many kinds
        raise UserError(f"the IP-Adapter {name} cannot be used with this model: {one_line(problem)}") from None


def ip_adapter_files(is_xl: bool) -> list[str]:
    """What of the published repository is needed."""
    folder, weight = _IP_ADAPTERS[is_xl]
    return [f"{folder}/{weight}", f"{folder}/image_encoder/*.json", f"{folder}/image_encoder/*.safetensors"]
