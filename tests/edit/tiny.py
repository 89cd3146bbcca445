"""Tiny randomly initialised pipelines, like Stable Diffusion 1.5 and XL in all but size: built and saved in a moment."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch

SIZE = 64  # pixels that they are made for


def save_pipeline(folder: Path, kind: str = "sd", seed: int = 0) -> Path:
    """Build a base model ("sd" or "xl") and save it into `folder` in the layout of diffusers."""
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    parts = components(kind, seed)
    if kind == "sd":
        more: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        StableDiffusionPipeline(**parts, **more).save_pretrained(folder, safe_serialization=True)
    else:
        StableDiffusionXLPipeline(**parts).save_pretrained(folder, safe_serialization=True)
    return folder


def save_controlnet(folder: Path, kind: str = "sd", seed: int = 1) -> Path:
    """Build a ControlNet whose outputs are not all 0, as a fresh one's are, and save it."""
    from diffusers import ControlNetModel

    torch.manual_seed(seed)
    net = ControlNetModel(**_shared(kind), conditioning_embedding_out_channels=(4, 4, 4, 4))
    with torch.no_grad():
        for block in (*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out):
            block.weight.normal_(std=0.1)
        for block in net.controlnet_cond_embedding.blocks:
            block.weight.mul_(4)  # as they are made, so few channels let next to nothing through
    net.save_pretrained(folder, safe_serialization=True)
    return folder


def components(kind: str, seed: int = 0) -> dict[str, Any]:
    """The parts of a pipeline; `seed` decides their weights."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

    torch.manual_seed(seed)
    ups = ["CrossAttnUpBlock2D", "UpBlock2D"] if kind == "xl" else ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]
    unet = UNet2DConditionModel(**_shared(kind), sample_size=SIZE // 8, out_channels=4, up_block_types=ups)
    vae = AutoencoderKL(
        block_out_channels=[8, 8, 8, 8],
        in_channels=3,
        out_channels=3,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        latent_channels=4,
        norm_num_groups=4,
        layers_per_block=1,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    texts = {"text_encoder": _text_encoder(8 if kind == "sd" else 16, False), "tokenizer": tokenizer()}
    if kind == "xl":
        texts = {"text_encoder": _text_encoder(16, False), "tokenizer": tokenizer()}
        texts |= {"text_encoder_2": _text_encoder(16, True), "tokenizer_2": tokenizer()}
    return {"unet": unet, "vae": vae, "scheduler": scheduler, **texts}


def _shared(kind: str) -> dict[str, Any]:
    """What a UNet and its ControlNet have in common."""
    shared: dict[str, Any] = {"block_out_channels": [8, 16], "layers_per_block": 1, "in_channels": 4, "norm_num_groups": 4}
    if kind == "sd":
        downs = ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"]
        return shared | {"cross_attention_dim": 8, "attention_head_dim": 4, "down_block_types": downs}
    return shared | {
        "cross_attention_dim": 32,
        "attention_head_dim": [2, 4],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "use_linear_projection": True,
        "transformer_layers_per_block": [1, 2],
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + 16,
    }


def _text_encoder(width: int, with_projection: bool) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        hidden_size=width,
        projection_dim=width,
        intermediate_size=16,
        num_attention_heads=2,
        num_hidden_layers=2,
        vocab_size=514,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )
    return (CLIPTextModelWithProjection if with_projection else CLIPTextModel)(config).eval()


def tokenizer() -> Any:
    """Letters alone: every letter is a token."""
    from transformers import CLIPTokenizer

    letters = _byte_letters()
    names = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer({name: number for number, name in enumerate(names)}, [], model_max_length=77)


def _byte_letters() -> list[str]:
    """The printable letter that byte-level tokenizers write for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


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


def save_lora(file: Path, kind: str = "sd", rank: int = 2, width: int | None = None) -> Path:
    """A LoRA of one attention layer of the UNet; another `width` than the model's does not fit it."""
    from safetensors.torch import save_file

    torch.manual_seed(5)
    width = width or 16
    layer = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    tensors = {f"{layer}.lora_A.weight": torch.randn(rank, width), f"{layer}.lora_B.weight": torch.randn(width, rank)}
    save_file(tensors, file)
    return file


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


def save_depth(folder: Path) -> None:
    """A depth estimator whose depth differs from place to place."""
    from transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessor

    config = DPTConfig(
        hidden_size=8,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=8,
        image_size=32,
        patch_size=16,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        backbone_out_indices=[0, 1, 2, 3],
    )
    torch.manual_seed(0)
    network = DPTForDepthEstimation(config)
    with torch.no_grad():
        for values in network.parameters():  # a fresh network's depth is the same everywhere, and cut off at 0
            values.normal_(std=0.4)
        network.head.head[-2].weight.abs_()
    network.save_pretrained(folder)
    DPTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
