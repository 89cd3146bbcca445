"""What is put on top of a loaded model: LoRA files, and IP-Adapter for an image prompt."""

from __future__ import annotations

import importlib.util
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atlas.errors import UserError, one_line
from atlas.storage.json_text import parsed
from atlas.weights.folder import check_folder, weight_bytes, weights_header
from atlas.weights.hub import located
from edit.diffusion.model_folder import check_network

_IP_ADAPTERS = {False: ("models", "ip-adapter_sd15.safetensors"), True: ("sdxl_models", "ip-adapter_sdxl.safetensors")}
_SETTINGS = "lora_adapter_metadata"  # under which diffusers keeps them in the file
_PLAIN = re.compile(r"\^?[\w./:|-]*\$?")  # peft takes names for regular expressions: some of those never end
_WORDS = {"bias", "peft_type", "task_type", "peft_version"}
_DEFAULTS = {"megatron_core": "megatron.core", "init_lora_weights": "gaussian"}  # a module that peft imports; a way to begin
_LARGEST = 100_000  # of ranks and other settings


def add_loras(pipeline: Any, loras: Sequence[tuple[Path, float]]) -> None:
    """Load LoRA files with their weights; UserError where one does not fit the model."""
    if not loras:
        return
    if importlib.util.find_spec("peft") is None:
        raise UserError("--lora needs peft, which is not installed: pip install -e .[diffusion]")
    names = [f"lora{number}" for number in range(len(loras))]
    for name, (path, _) in zip(names, loras, strict=True):
        load_lora(pipeline, path, name)
    pipeline.set_adapters(names, [scale for _, scale in loras])


def load_lora(pipeline: Any, path: Path, name: str) -> None:
    """Load one LoRA file under a name, by which it can be switched; UserError where it does not fit the model."""
    _check_lora(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # peft has one for every LoRA after the first
            pipeline.load_lora_weights(
                str(path.parent), weight_name=path.name, adapter_name=name, local_files_only=True, use_safetensors=True
            )
    except Exception as problem:  # of sizes, of names, of formats: diffusers and peft raise many kinds
        raise UserError(f"the LoRA {path} does not fit the model: {one_line(problem)}") from None
    if not any(name in adapters for adapters in pipeline.get_list_adapters().values()):
        raise UserError(f"the LoRA {path} does not fit the model: none of its weights belongs to it")


def add_image_prompt(pipeline: Any, name: str, scale: float, *, is_xl: bool, offline: bool) -> None:
    """Load an IP-Adapter and its image encoder; UserError where it cannot be had or does not fit."""
    folder, weight = _IP_ADAPTERS[is_xl]
    path = located(name, "IP-Adapter", offline=offline, patterns=ip_adapter_files(is_xl))
    if path.is_file():
        place, subfolder, weight = path.parent, "", path.name
    else:
        place, subfolder = path, folder
    try:
        if pipeline.image_encoder is None:  # diffusers, left to itself, reads it from other formats too
            pipeline.register_modules(image_encoder=_image_encoder(place / subfolder / "image_encoder", pipeline))
        pipeline.load_ip_adapter(str(place), subfolder=subfolder, weight_name=weight, local_files_only=True)
        pipeline.set_ip_adapter_scale(scale)
    except (UserError, MemoryError):
        raise
    except Exception as problem:  # missing files, other sizes: diffusers raises many kinds
        raise UserError(f"the IP-Adapter {name} cannot be used with this model: {one_line(problem)}") from None


def _image_encoder(folder: Path, pipeline: Any) -> Any:
    from transformers import CLIPVisionModelWithProjection

    check_folder(folder)
    check_network(folder, "image encoder", CLIPVisionModelWithProjection, weight_bytes(folder, "image encoder"))
    encoder = CLIPVisionModelWithProjection.from_pretrained(
        str(folder), torch_dtype=pipeline.dtype, use_safetensors=True, local_files_only=True
    )
    return encoder.to(pipeline.device)


def _check_lora(path: Path) -> None:
    """UserError where the names or settings in a LoRA's file are more than data to peft, or take any time or memory."""
    tensors, texts = weights_header(path)
    settings = texts.get(_SETTINGS)
    for name in tensors:
        if not _PLAIN.fullmatch(name):
            raise UserError(
                f"the LoRA {path} has a tensor named {ascii(name)[:80]}, which is no layer's name: nothing is loaded"
            )
    if not settings:
        return
    try:
        entries = dict(parsed(settings.encode(), finite=False))
    except (ValueError, TypeError):
        raise UserError(f"the LoRA {path} has settings that are no JSON ({_SETTINGS}): download it again") from None
    for name, value in entries.items():
        if not _is_plain(name.rpartition(".")[2], value):
            raise UserError(f"the LoRA {path} has the setting {ascii(name)[:80]}: {ascii(value)[:80]}, which is not taken")


def _is_plain(name: str, value: Any) -> bool:
    """Whether a setting is one that peft only reckons with."""
    if not value or isinstance(value, bool):
        return True
    if isinstance(value, int | float):
        return 0 <= value <= _LARGEST
    if isinstance(value, str):
        return name in _WORDS or _DEFAULTS.get(name) == value
    if isinstance(value, list):  # of layers
        return name in ("target_modules", "exclude_modules") and all(isinstance(v, str) and _PLAIN.fullmatch(v) for v in value)
    numbers = name in ("rank_pattern", "alpha_pattern") and isinstance(value, dict)
    return numbers and all(_PLAIN.fullmatch(key) and _is_plain("", one) for key, one in value.items())


def ip_adapter_files(is_xl: bool) -> list[str]:
    """What of the published repository is needed."""
    folder, weight = _IP_ADAPTERS[is_xl]
    return [f"{folder}/{weight}", f"{folder}/image_encoder/*.json", f"{folder}/image_encoder/*.safetensors"]
