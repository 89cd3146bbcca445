"""Tiny models of the damage bench, and what only tests need beside them: a single file, an IP-Adapter."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch

from scripts.benchmarks.damage.models import save_controlnet, save_depth, save_lora, save_pipeline

__all__ = ["save_controlnet", "save_depth", "save_lora", "save_pipeline"]


def save_single_file(folder: Path, file: Path) -> Path:
    """A saved SD model's networks in one file, under the names of the original Stable Diffusion."""
    from safetensors.torch import load_file, save_file

    tensors = {}
    for name, value in load_file(folder / "unet" / "diffusion_pytorch_model.safetensors").items():
        tensors[f"model.diffusion_model.{_renamed(name, _UNET + _RESNET)}"] = value
    for name, value in load_file(folder / "vae" / "diffusion_pytorch_model.safetensors").items():
        tensors[f"first_stage_model.{_renamed(name, _VAE)}"] = value
    for name, value in load_file(folder / "text_encoder" / "model.safetensors").items():
        tensors[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = value
    save_file(tensors, file)
    return file


# From the names of diffusers to the original ones, for one layer per block and two (UNet) or four (VAE) blocks.
_UNET = [
    (r"^time_embedding.linear_(\d)", lambda m: f"time_embed.{2 * int(m[1]) - 2}"),
    (r"^conv_in", "input_blocks.0.0"),
    (r"^conv_norm_out", "out.0"),
    (r"^conv_out", "out.2"),
    (r"^down_blocks.(\d).resnets.0", lambda m: f"input_blocks.{2 * int(m[1]) + 1}.0"),
    (r"^down_blocks.(\d).attentions.0", lambda m: f"input_blocks.{2 * int(m[1]) + 1}.1"),
    (r"^down_blocks.(\d).downsamplers.0.conv", lambda m: f"input_blocks.{2 * int(m[1]) + 2}.0.op"),
    (r"^up_blocks.(\d).resnets.(\d)", lambda m: f"output_blocks.{2 * int(m[1]) + int(m[2])}.0"),
    (r"^up_blocks.(\d).attentions.(\d)", lambda m: f"output_blocks.{2 * int(m[1]) + int(m[2])}.1"),
    (r"^up_blocks.(\d).upsamplers.0", lambda m: f"output_blocks.{2 * int(m[1]) + 1}.2"),
    (r"^mid_block.attentions.0", "middle_block.1"),
    (r"^mid_block.resnets.(\d)", lambda m: f"middle_block.{2 * int(m[1])}"),
]
_RESNET = [
    (r"\.norm1\.(?=weight|bias)(?<!transformer_blocks.0.norm1.)", ".in_layers.0."),
    (r"\.conv1\.", ".in_layers.2."),
    (r"\.norm2\.(?<!transformer_blocks.0.norm2.)", ".out_layers.0."),
    (r"\.conv2\.", ".out_layers.3."),
    (r"\.time_emb_proj\.", ".emb_layers.1."),
    (r"\.conv_shortcut\.", ".skip_connection."),
]
_VAE = [
    (r"\.down_blocks.(\d).resnets.0", r".down.\1.block.0"),
    (r"\.down_blocks.(\d).downsamplers.0", r".down.\1.downsample"),
    (r"\.up_blocks.(\d).resnets.(\d)", lambda m: f".up.{3 - int(m[1])}.block.{m[2]}"),
    (r"\.up_blocks.(\d).upsamplers.0", lambda m: f".up.{3 - int(m[1])}.upsample"),
    (r"\.mid_block.attentions.0", ".mid.attn_1"),
    (r"\.mid_block.resnets.(\d)", lambda m: f".mid.block_{int(m[1]) + 1}"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"conv_norm_out", "norm_out"),
    (r"(attn_1)\.group_norm", r"\1.norm"),
    (r"(attn_1)\.to_([qkv])", r"\1.\2"),
    (r"(attn_1)\.to_out.0", r"\1.proj_out"),
]


def _renamed(name: str, rules: list[tuple[str, Any]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def save_ip_adapter(folder: Path, model: Path) -> Path:
    """An IP-Adapter for a saved SD model, its image encoder beside it; returns the file."""
    from diffusers import UNet2DConditionModel
    from safetensors.torch import save_file
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet")
    text = int(json.loads((model / "unet" / "config.json").read_text())["cross_attention_dim"])
    torch.manual_seed(6)
    vision = CLIPVisionConfig(
        hidden_size=8,
        projection_dim=8,
        intermediate_size=16,
        num_attention_heads=2,
        num_hidden_layers=1,
        image_size=32,
        patch_size=16,
    )
    CLIPVisionModelWithProjection(vision).save_pretrained(folder / "image_encoder", safe_serialization=True)
    tensors = {"image_proj.proj.weight": torch.randn(4 * text, 8), "image_proj.proj.bias": torch.zeros(4 * text)}
    tensors |= {"image_proj.norm.weight": torch.ones(text), "image_proj.norm.bias": torch.zeros(text)}
    number = 1
    for name in unet.attn_processors:
        if "attn2" not in name:
            continue
        layer = unet.get_submodule(name.removesuffix(".processor"))
        width = layer.to_k.weight.shape[0]
        for part in ("to_k_ip", "to_v_ip"):
            tensors[f"ip_adapter.{number}.{part}.weight"] = torch.randn(width, text)
        number += 2
    save_file(tensors, folder / "ip-adapter.safetensors")
    return folder / "ip-adapter.safetensors"
