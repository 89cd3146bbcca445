"""IP-Adapter: a picture beside the prompt, through an image encoder of its own (Ye et al., 2023)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from atlas.errors import UserError, one_line
from atlas.weights.folder import check_folder, weight_bytes, weights_header
from atlas.weights.hub import located
from atlas.weights.networks import loaded_network
from edit.models.folder import check_network

_PUBLISHED = {False: ("models", "ip-adapter_sd15.safetensors"), True: ("sdxl_models", "ip-adapter_sdxl.safetensors")}
_ENCODER = "image_encoder"


def ip_adapter_patterns(is_xl: bool) -> list[str]:
    """What of the published repository is needed."""
    folder, weight = _PUBLISHED[is_xl]
    return [f"{folder}/{weight}", f"{folder}/{_ENCODER}/*.json", f"{folder}/{_ENCODER}/*.safetensors"]


def image_encoder_of(file: Path) -> Path:
    """Find the folder of the image encoder beside an IP-Adapter's file; UserError where there is none."""
    folder = file.parent / _ENCODER
    if not folder.is_dir():
        raise UserError(f"{folder} is missing: an IP-Adapter's image encoder lies beside it, with config.json and weights")
    return folder


def add_image_prompt(pipeline: Any, name: str, scale: float, *, is_xl: bool, offline: bool) -> None:
    """Load an IP-Adapter and its image encoder; UserError where it cannot be had or does not fit."""
    path = located(name, "IP-Adapter", offline=offline, patterns=ip_adapter_patterns(is_xl))
    file = path if path.is_file() else path.joinpath(*_PUBLISHED[is_xl])
    try:
        _check_kind(name, file)
        if pipeline.image_encoder is None:  # diffusers, left to itself, reads it from other formats too
            pipeline.register_modules(image_encoder=_image_encoder(image_encoder_of(file), pipeline))
        pipeline.load_ip_adapter(str(file.parent), subfolder="", weight_name=file.name, local_files_only=True)
        pipeline.set_ip_adapter_scale(scale)
        _check_width(name, pipeline)
    except (UserError, MemoryError):
        raise
    except Exception as problem:  # missing files, other sizes: diffusers raises many kinds
        raise UserError(f"the IP-Adapter {name} cannot be used with this model: {one_line(problem)}") from None


def _check_kind(name: str, file: Path) -> None:
    if not file.is_file():
        raise UserError(f"the IP-Adapter {name} has no {file.name} where it belongs ({file.parent}): name the file itself")
    tensors = weights_header(file)[0]
    if not any(".to_k_ip." in tensor for tensor in tensors):
        raise UserError(f"{file} is no IP-Adapter: check --ip-adapter")
    if any("lora" in tensor or tensor.startswith("image_proj.perceiver_resampler.") for tensor in tensors):
        raise UserError(f"{file} is an IP-Adapter for faces (FaceID), which asks for a face detector: name another")


def _check_width(name: str, pipeline: Any) -> None:
    """UserError where the image encoder gives other numbers than the adapter reads: its first step would fail."""
    (projection,) = pipeline.unet.encoder_hid_proj.image_projection_layers
    first = next(layer for layer in projection.modules() if isinstance(layer, torch.nn.Linear))
    config = pipeline.image_encoder.config
    given = config.projection_dim if type(projection).__name__ == "ImageProjection" else config.hidden_size
    if first.in_features != given:
        raise UserError(
            f"the IP-Adapter {name} reads {first.in_features} numbers of a picture, and the image encoder beside it gives "
            f"{given}: it belongs to another encoder"
        )


def _image_encoder(folder: Path, pipeline: Any) -> Any:
    from transformers import CLIPVisionModelWithProjection

    check_folder(folder)
    check_network(folder, "image encoder", CLIPVisionModelWithProjection, weight_bytes(folder, "image encoder"))
    encoder = loaded_network(folder, "image encoder", CLIPVisionModelWithProjection, pipeline.dtype)
    return encoder.to(pipeline.device)
